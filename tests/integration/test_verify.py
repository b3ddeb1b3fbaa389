"""`verify` on real servers: after a compaction; cancelled; ended by a deploy whose clean-up takes its topics away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.cli import verifying
from connector.cli.verifying import aligned, rebuilt_and_compared
from connector.deploy.catalog import Deployment
from connector.errors import RequestRefused
from tests.integration.pipeline import Pipeline, eventually
from tests.integration.test_pipeline import versions
from tests.integration.world import CHANGED, deployed
from tests.worlds import Source
from topologies import kafka
from topologies.catalog import ask
from topologies.observe import Watch

pytestmark = [pytest.mark.stack, pytest.mark.soak]


@pytest.fixture
def pipeline(source: Source, tmp_path: Path) -> Iterator[Pipeline]:
    with deployed(source, tmp_path, lists=5, todos=300) as made:
        yield made


def ended(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, how: Callable[[], object]) -> str:
    """What a verify says that somebody ends once it stands, and whose topics are gone when it begins to compare."""

    def too_late(watch: Watch, generation: int) -> Deployment:
        found = aligned(watch, generation)
        how()
        topic = pipeline.topics.oplog(found.comparisons[0].version)
        eventually(lambda: not kafka.topic_exists(pipeline.settings, topic), what="its topics are gone")
        return found

    watch = Watch(pipeline.settings)
    with monkeypatch.context() as patched:
        patched.setattr(verifying, "aligned", too_late)
        patched.setattr(verifying, "Kept", lambda *_: lambda: None)  # it comes to the topics before it looks
        with pytest.raises(RequestRefused) as told:
            rebuilt_and_compared(pipeline.settings, watch)
    watch.close()
    return told.value.message


def test_a_verify_that_is_ended_says_so(source: Source, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    source.sql("UPDATE todos SET title = title || '!' WHERE id < 200; DELETE FROM todos WHERE id < 50")
    live = versions(pipeline)["open_todos", "open_todos"]
    eventually(lambda: sum(op["op"] == "REMOVE" for _, op in pipeline.ops(live)) > 0, what="the changes")
    assert ask(pipeline.settings, "compact").outcome == "accepted"
    eventually(lambda: any(op["op"] == "CLEAR" for _, op in pipeline.ops(live)), what="the compaction")
    assert pipeline.ok("verify")["faulty"] == 0

    cancelled = ended(pipeline, monkeypatch, lambda: pipeline.ok("cancel"))
    assert cancelled.endswith("was ended as cancelled: cancelled on request")
    dropped = ended(pipeline, monkeypatch, lambda: pipeline.deploy(CHANGED))
    assert dropped.endswith("was ended as dropped: a deploy came")
    assert pipeline.ok("verify")["equal"]
    assert not list(pipeline.settings.state.glob("verify-*"))
