"""One client's stream: what it is told at a checkpoint, and what it downloads then (powersync.md 4.1).

    line = session.advance(view, served, ...)     checkpoint, checkpoint_diff, or nothing new
    for each in session.downloads(view): ...      data by priority, then checkpoint_complete; may be left at any op

A bucket's position is the op id that the client has it up to: a download that is left is taken up again from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from connector.definitions.request import Connection
from connector.store.buckets import Sums, View
from connector.sync.lines import Line, Ops
from connector.sync.requests import StreamRequest
from connector.sync.served import Answer, Place, Served, Stream, Wanted

OPS_PER_LINE = 1_000
BYTES_PER_LINE = 1_000_000


class Session:
    """What one client has been told, and what it has. No clock, no connection."""

    def __init__(self, request: StreamRequest, claims: Mapping[str, Any]) -> None:
        self._connection = Connection(claims, request.parameters, request.subscriptions, request.include_defaults)
        self._positions = dict(request.buckets)
        self.answer: Answer | None = None  # the client's buckets and what they rest on; another one is another object
        self._served: Served | None = None
        self._by_place: dict[Place, str] = {}
        self._sums: dict[str, Sums] = {}
        self._told: dict[str, dict[str, Any]] = {}  # bucket → its item of the lines
        self._streams: dict[str, int] = {}  # name → its number in the first line; later ones count on
        self._acknowledged: int | None = None
        self._op_id = 0
        self.complete_op_id = 0  # `last_op_id` of the newest checkpoint that the client was sent whole
        self.due = 0  # buckets of the download under way, or of the last one
        self.complete = True  # nothing is owed of what the client was told
        self._open: dict[str, None] = {}  # buckets of the download under way, in order

    @property
    def newest_position(self) -> int:
        """The highest op id that the client says it has (rule V3)."""
        return max(self._positions.values(), default=0)

    @property
    def buckets(self) -> Mapping[str, Wanted]:
        """The client's buckets as it was last told of them."""
        return self.answer.buckets if self.answer is not None else {}

    @property
    def left(self) -> int:
        """Buckets of the download that are not sent yet."""
        return len(self._open)

    @property
    def lookups(self) -> frozenset[Place]:
        """The lookups that the client's buckets rest on."""
        return self.answer.lookups if self.answer is not None else frozenset()

    def advance(
        self, view: View, served: Served, touched: Iterable[Place], acknowledged: int | None, *, asked_anew: bool
    ) -> Line | None:
        """Go to the view's checkpoint; the line that tells the client, if there is anything to tell.

        `touched` are the buckets that have changed since the last call, `asked_anew` that lookups have.
        `acknowledged` is the client's newest write checkpoint there, if it is still known. Raises RequestRefused.
        """
        first = self.answer is None
        if first or asked_anew or served is not self._served:
            self.answer, self._served = served.answer(self._connection, view), served
            self._number(self.answer.streams)
            self._by_place = {one.place: name for name, one in self.answer.buckets.items()}
            known = self._sums
            self._sums = {
                name: known[name] if name in known else view.sums(*one.place)
                for name, one in self.answer.buckets.items()
            }
            looked = list(self.answer.buckets)
        else:
            looked = []
        for name in [self._by_place[place] for place in touched if place in self._by_place]:
            self._sums[name] = view.sums(*self.buckets[name].place)
            looked.append(name)
        return self._line(looked, view.exposed.op_id, self._risen(acknowledged), first=first)

    def downloads(self, view: View) -> Iterator[Line | Ops]:
        """The data of the checkpoint that the client was last told of, from the checkpoint's own view or a later one
        in which nothing of the client's has changed. Each priority but the last ends in a partial completion."""
        priorities = sorted({self._told[name]["priority"] for name in self._open})
        for priority in priorities:
            for name in [name for name in self._open if self._told[name]["priority"] == priority]:
                yield from self._ops(view, name)
                del self._open[name]
            if priority != priorities[-1]:
                yield {"partial_checkpoint_complete": {"last_op_id": str(self._op_id), "priority": priority}}
        self.complete, self.complete_op_id = True, self._op_id
        yield {"checkpoint_complete": {"last_op_id": str(self._op_id)}}

    def _ops(self, view: View, name: str) -> Iterator[Ops]:
        version, parameters = self.buckets[name].place
        after, more = self._positions.get(name, 0), True
        while more and after < self._sums[name].last_op:
            portion = view.portion(version, parameters, beyond=after, count=OPS_PER_LINE, size=BYTES_PER_LINE)
            if not portion.texts:
                return
            self._positions[name] = portion.last
            yield Ops(name, after, portion)
            after, more = portion.last, portion.more

    def _risen(self, acknowledged: int | None) -> int | None:
        """What was acknowledged once stays so."""
        if acknowledged is None or self._acknowledged is None:
            return self._acknowledged if acknowledged is None else acknowledged
        return max(acknowledged, self._acknowledged)

    def _number(self, streams: Iterable[Stream]) -> None:
        """A stream keeps its number: a client is told of them once."""
        for stream in streams:
            self._streams.setdefault(stream.name, len(self._streams))

    def _line(self, looked: Iterable[str], op_id: int, acknowledged: int | None, *, first: bool) -> Line | None:
        """`looked`: the buckets that may be told of in another way than before."""
        assert self.answer is not None
        items = {name: self._item(name, self.answer.buckets[name]) for name in looked}
        updated = {name: item for name, item in items.items() if self._told.get(name) != item}
        removed = [name for name in self._told if name not in self.answer.buckets]
        if not (first or updated or removed or acknowledged != self._acknowledged):
            return None
        for name in removed:
            del self._told[name]
            self._open.pop(name, None)
        self._told |= updated
        self._positions = {name: after for name, after in self._positions.items() if name in self._told}
        self._open |= dict.fromkeys(updated)
        self.due = len(self._open)
        self._acknowledged, self._op_id, self.complete = acknowledged, op_id, False
        head: dict[str, Any] = {"last_op_id": str(op_id)}
        if acknowledged is not None:
            head["write_checkpoint"] = str(acknowledged)
        if first:
            streams = [_described(one) for one in self.answer.streams]
            return {"checkpoint": {**head, "buckets": list(updated.values()), "streams": streams}}
        return {"checkpoint_diff": {**head, "removed_buckets": removed, "updated_buckets": list(updated.values())}}

    def _item(self, name: str, wanted: Wanted) -> dict[str, Any]:
        sums = self._sums[name]
        default = self._streams.get(wanted.definition, 0)
        return {
            "bucket": name,
            "checksum": sums.checksum,
            "count": sums.ops,
            "priority": wanted.priority,
            "subscriptions": [
                {"default": default} if reason == "default" else {"sub": reason} for reason in wanted.reasons
            ],
        }


def _described(stream: Stream) -> dict[str, Any]:
    errors = [{"subscription": one.reason, "message": one.message} for one in stream.errors]
    return {"name": stream.name, "is_default": stream.is_default, "errors": errors}
