"""What `syncline clients` shows of what nodes tell."""

from __future__ import annotations

from connector.cli.clients import lines, summary
from connector.sync.connected import BEAT, EVERY, Rhythm, Standing, overview
from tests.builders import node_record


def test_a_line_per_client_with_those_first_that_lack_most() -> None:
    behind = {"user": "u2", "client": None, "behind_since": 8_000, "sent": 3, "due": 12, "sent_bytes": 1_200_000}
    seen = overview([node_record(), node_record([{}, behind], node="n2", endpoint="http://n2")], 10_000)
    told = list(lines(seen))
    assert told[0] == summary(seen) == "3 clients at 2 nodes, 1 behind"
    assert told[2].split() == ["user", "client", "node", "since", "buckets", "lag", "sent", "ops"]
    assert told[3].startswith("u2")
    assert "2.0 s, has 3 of 12 buckets  1.2 MB" in told[3]
    assert [line.split()[:3] for line in told[4:]] == [["u1", "c1", "http://n1"], ["u1", "c1", "http://n2"]]
    assert all("none" in line for line in told[4:])


def test_clients_of_a_node_that_lacks_a_checkpoint_lack_it_too() -> None:
    seen = overview([node_record(behind_since=4_000)], 10_000)
    assert seen["clients"][0]["lag"] == {"ms": 6_000, "buckets": 0, "of": 0}
    assert "http://n1 has lacked a checkpoint for 6.0 s" in list(lines(seen))


def test_clients_that_are_not_listed_are_counted() -> None:
    assert list(lines(overview([node_record(clients=1_500)], 0)))[-1] == "and 1,499 more"
    assert list(lines(overview([], 0))) == ["no node is running"]


def test_a_client_cannot_move_the_cursor() -> None:
    (line,) = list(lines(overview([node_record([{"client": "\x1b[2Jx"}])], 0)))[3:]
    assert "\x1b" not in line
    assert "\N{REPLACEMENT CHARACTER}[2Jx" in line


def test_a_node_speaks_soon_after_a_change_and_now_and_then() -> None:
    rhythm = Rhythm()
    assert rhythm.is_due(0.0, "a")
    assert not rhythm.is_due(EVERY / 2, "b")
    assert rhythm.is_due(EVERY, "b")
    assert not rhythm.is_due(EVERY + BEAT / 2, "b")
    assert rhythm.is_due(EVERY + BEAT, "b")


def test_a_node_that_follows_is_not_behind_and_one_that_stands_is() -> None:
    standing = Standing()
    follows = [standing.behind_since(now, 10 + now, 9 + now) for now in range(5)]
    assert follows == [None] * 5
    stands = [standing.behind_since(now, 10 + now, 13) for now in range(5, 9)]
    assert stands == [4, 4, 4, 4]
    assert standing.behind_since(9, 19, 19) is None
