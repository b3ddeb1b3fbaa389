"""Has the connector capture tables that a deploy needs (rules S6, D3).

Each step looks first, so a deploy that was interrupted between any two goes on when it is run again:

1. topics, CDC and snapshot: an empty table has none until its first row
2. the connector's list of tables; Connect restarts it. Not during the initial snapshot, which would begin anew
3. the publication
4. the sequencer sees the topics, and has the tables read by an incremental snapshot

Only then is the merge asked. A table that is captured and read by no definition does no harm: so nothing is taken back
where a later step fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from connector.crash import crash_point
from connector.deploy.capture import (
    listing,
    listing_by_hand,
    lists,
    needed,
    publication,
    publishing,
    refuse_untakeable,
)
from connector.deploy.costs import SourceRead
from connector.errors import SourceRefused, Unavailable
from connector.settings import Settings
from topologies import database, kafka
from topologies.connect import PATIENCE, Connect
from topologies.prepare import snapshot_topics, source_topics

LOOK = 0.2
RESTART_PATIENCE = 60.0  # seconds until a changed connector runs
AGAIN = "run the command again: it goes on from there"

Say = Callable[[str], None]
Known = Callable[[], Collection[str] | None]


def reads(settings: Settings, patterns: Collection[str], complete: Collection[str]) -> list[SourceRead]:
    """Which tables of a config the source is read for: those that are not complete yet, captured or not.

    Raises SourceRefused where one cannot be captured, Unavailable where database or Connect cannot be asked.
    """
    if not set(patterns) - set(complete):
        return []
    facts = database.table_facts(settings)
    tables = [table for table in needed(patterns, facts, settings) if table not in complete]
    if not tables:
        return []
    config = _config(settings)
    published = database.published(settings, publication(config), tables)[1]
    new = {table for table in tables if not lists(config, table) or table not in published}
    refuse_untakeable(tables, facts, settings)
    listing(config, sorted(new))
    sizes = database.table_estimates(settings, tables)
    return [SourceRead(table, rows, table in new, size) for table, (rows, size) in sizes.items()]


def capture(settings: Settings, tables: Sequence[str], known: Known, say: Say) -> None:
    """Have these tables captured, all steps of them, done or not. `known`: the tables that the sequencer has seen.

    Raises SourceRefused where connector or database says no, Unavailable where one is out of reach.
    """
    connect = Connect(settings, patience=PATIENCE)
    try:
        kafka.create_topics(settings, [*source_topics(settings, tables), *snapshot_topics(settings, tables)])
        crash_point("deploy.after_topics")
        _list(settings, connect, tables, say)
        crash_point("deploy.after_list")
        _publish(settings, tables, say)
        crash_point("deploy.after_publication")
        _until(lambda: _all_known(tables, known()), RESTART_PATIENCE, "the sequencer has not seen the new topics")
    except Unavailable as error:
        hint = f"{error.hint}; then {AGAIN}" if error.hint else AGAIN
        raise Unavailable(error.message, where=error.where, hint=hint) from error
    finally:
        connect.close()


def _all_known(tables: Sequence[str], known: Collection[str] | None) -> bool:
    """A sequencer that has never run sees all topics when it starts."""
    return known is None or set(tables) <= set(known)


def _config(settings: Settings) -> Mapping[str, str]:
    connect = Connect(settings, patience=PATIENCE)
    try:
        found = connect.config()
    finally:
        connect.close()
    if found is None:
        raise SourceRefused(f"there is no connector {settings.connector}", hint="run `syncline init`")
    return found


def _list(settings: Settings, connect: Connect, tables: Sequence[str], say: Say) -> None:
    config = _config(settings)
    changed = listing(config, tables)
    if not changed:
        return
    if not settings.manage_connector:
        unlisted = [table for table in tables if not lists(config, table)]
        say(f"waiting for you: {listing_by_hand(settings, unlisted)}")
        _until(lambda: not listing(_config(settings), tables), None, "")
        return
    if not _snapshot_done(connect):
        say("waiting for the initial snapshot: a changed connector would begin it anew")
        _until(lambda: _snapshot_done(connect), None, "")
    say(f"adding {', '.join(tables)} to connector {settings.connector}")
    _until(lambda: _listed(settings, connect, tables), RESTART_PATIENCE, "the connector was not changed")
    _until(lambda: _runs(connect), RESTART_PATIENCE, f"connector {settings.connector} does not run")


def _listed(settings: Settings, connect: Connect, tables: Sequence[str]) -> bool:
    """Connect takes the settings as a whole: two deploys at once would each take back what the other has added."""
    with database.alone(settings, f"connector {settings.connector}"):
        config = _config(settings)
        if changed := listing(config, tables):
            connect.configure({**config, **changed})
    return True


def _snapshot_done(connect: Connect) -> bool:
    offset = connect.offset()
    return offset is not None and not offset.initial


def _runs(connect: Connect) -> bool:
    failure = connect.failure()
    if failure is not None:
        raise SourceRefused(
            f"the connector has failed: {failure.strip()}", hint=f"mend the cause, restart it, then {AGAIN}"
        )
    return connect.running()


def _publish(settings: Settings, tables: Sequence[str], say: Say) -> None:
    name = publication(_config(settings))

    def lacking() -> list[str]:
        there = database.published(settings, name, tables)[1]
        return [table for table in tables if table not in there]

    missing = lacking()
    if not missing:
        return
    if settings.manage_connector:
        say(publishing(name, missing))
        database.publish(settings, name, missing)
    else:
        say(f"waiting for you: {publishing(name, missing)}")
        _until(lambda: not lacking(), None, "")


def _until(there: Callable[[], bool], patience: float | None, otherwise: str) -> None:
    """Look until it is so; Connect may be rebalancing meanwhile. Raises Unavailable after `patience` seconds."""
    deadline = None if patience is None else time.monotonic() + patience
    while True:
        last: Unavailable | None = None
        try:
            if there():
                return
        except Unavailable as error:
            last = error
        if deadline is not None and time.monotonic() > deadline:
            raise last or Unavailable(f"{otherwise} within {patience:.0f} s", hint="is it running?")
        time.sleep(LOOK)
