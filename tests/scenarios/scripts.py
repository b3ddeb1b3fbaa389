"""The scenarios: what people do with their definitions. Each ends with what it expects; the oracle comes after it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

from tests.integration.pipeline import eventually
from tests.scenarios.definitions import TEN, Config, Definition, another, text
from tests.scenarios.world import World, answered

Script = Callable[[World, random.Random], None]
FEWEST = 4  # definitions that are left by a remove


def first_deploy(world: World, chance: random.Random) -> None:
    world.deploy(TEN)


def identical(world: World, chance: random.Random) -> None:
    """Comments and case are no change: nothing happens."""
    before, definitions = world.catalog().active, world.versions()
    file = world.folder / "same.yaml"
    file.write_text(text(world.now, world.edition).replace("SELECT", "select") + "# a comment\n")
    world.ask("deploy", str(file), enough=lambda catalog: False)
    assert world.at_rest().active == before, world.told()
    assert world.versions() == definitions


def change_one(world: World, chance: random.Random) -> None:
    world.deploy(_changed(world.now, chance))


def add(world: World, chance: random.Random) -> None:
    world.deploy((*world.now, _fresh(world.now, chance)))


def remove(world: World, chance: random.Random) -> None:
    victim = _index(world.now, chance)
    if len(world.now) > FEWEST:
        world.deploy(world.now[:victim] + world.now[victim + 1 :])


def rename(world: World, chance: random.Random) -> None:
    """It keeps everything."""
    one = _index(world.now, chance)
    kept = world.all_versions()
    world.deploy(_with(world.now, one, name=_unused(world.now, chance)))
    assert world.all_versions() == kept, "a rename keeps every version"


def swap_names(world: World, chance: random.Random) -> None:
    one, other = chance.sample(range(1, len(world.now)), 2)
    kept = world.all_versions()
    first, second = world.now[one].name, world.now[other].name
    world.deploy(_with(_with(world.now, one, name=second), other, name=first))
    assert world.all_versions() == kept, "names moved, versions did not"


def change_back(world: World, chance: random.Random) -> None:
    before = world.now
    world.deploy(_changed(before, chance))
    world.deploy(before)


def change_during_a_replay(world: World, chance: random.Random) -> None:
    """The second deploy is asked for at once; it is the one that counts."""
    first = _changed(world.now, chance)
    world.request(first)
    second = _changed(first, chance)
    world.deploy(second)


def several_in_a_row(world: World, chance: random.Random) -> None:
    config = world.now
    for _ in range(3):
        config = _changed(config, chance)
        world.request(config)
    world.deploy(config)


def cancel(world: World, chance: random.Random) -> None:
    """Either it was in time, and nothing is changed, or the switch was first."""
    before, wanted = world.now, _changed(world.now, chance)
    world.request(wanted)
    world.ask("cancel", enough=lambda catalog: not any(d.pending for d in catalog.deployments))
    world.at_rest()
    assert world.now in (before, wanted)


def rollback(world: World, chance: random.Random) -> None:
    """To what was active before, whatever came between."""
    world.deploy(_changed(world.now, chance))
    earlier = [d for d in world.catalog().deployments if d.kind == "deploy" and d.switched_at and d.state != "active"]
    wanted = max(earlier, key=lambda d: (d.switched_at, d.generation)).config
    world.ask(
        "rollback", "--no-wait", enough=lambda catalog: catalog.active is not None and catalog.active.config == wanted
    )
    eventually(lambda: answered(world.at_rest), what="the rollback")
    assert text(world.now, world.edition) == wanted, world.told()


def another_edition(world: World, chance: random.Random) -> None:
    """All is evaluated anew, into the same buckets; as no row comes out otherwise, not one op is written for it."""
    kept = world.versions()
    world.edition = 3 - world.edition
    world.deploy(world.now)
    assert world.versions() == kept, "the buckets are the same"


def new_table(world: World, chance: random.Random) -> None:
    """A table that is not captured yet, with rows, and a definition that reads it."""
    name = f"extra_{_unused(world.now, chance)}"
    world.source.sql(
        f"CREATE TABLE {name} (id int PRIMARY KEY, title varchar(40)); ALTER TABLE {name} REPLICA IDENTITY FULL;"
        f" INSERT INTO {name} SELECT n, 'Extra ' || n FROM generate_series(1, 200) n"
    )
    world.writer.alone(f"UPDATE {name} SET title = 'other' WHERE id % 7 = 0", f"DELETE FROM {name} WHERE id % 9 = 0")
    world.deploy((*world.now, Definition(_unused(world.now, chance), name, ("title",))))


def verify(world: World, chance: random.Random) -> None:
    """A verify beside everything finds no difference, and leaves nothing behind. One whose command heard no answer is
    ended by the person who asks again."""
    deadline = time.monotonic() + world.patience
    while True:
        done = world.pipeline.cli("verify", "--json", timeout=900)  # after a huge transaction it takes minutes
        if done.returncode == 0:
            return
        assert '"equal": false' not in done.stdout, done.stdout
        if "`syncline cancel" in done.stderr:
            world.pipeline.cli("cancel")
        assert time.monotonic() < deadline, f"verify does not end: {done.stdout}{done.stderr}"


SCRIPTS: dict[str, Script] = {
    script.__name__: script
    for script in (
        identical,
        change_one,
        add,
        remove,
        rename,
        swap_names,
        change_back,
        change_during_a_replay,
        several_in_a_row,
        cancel,
        rollback,
        verify,
        another_edition,
        new_table,
        first_deploy,
    )
}


REPLAYING = (
    "change_one",
    "add",
    "change_back",
    "change_during_a_replay",
    "several_in_a_row",
    "new_table",
    "another_edition",
)


def _index(config: Config, chance: random.Random) -> int:
    """Of any definition but the marks, which the oracle needs."""
    return chance.randrange(1, len(config))


def _with(config: Config, index: int, *, name: str) -> Config:
    return (*config[:index], replace(config[index], name=name), *config[index + 1 :])


def _changed(config: Config, chance: random.Random) -> Config:
    """One definition of all is another, under the same name."""
    index = _index(config, chance)
    return (*config[:index], another(config, chance, config[index].name), *config[index + 1 :])


def _fresh(config: Config, chance: random.Random) -> Definition:
    return another(config, chance, _unused(config, chance))


def _unused(config: Config, chance: random.Random) -> str:
    names = {definition.name for definition in config}
    while (name := f"d{chance.randrange(1000)}") in names:
        pass
    return name
