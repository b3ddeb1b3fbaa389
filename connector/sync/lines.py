"""Sync lines on the wire: newline-delimited JSON, or BSON documents one after the other (powersync.md 4.1).

Ops come as the store has them (`connector.oplog.wire`): as JSON they are joined, not encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from connector.store.buckets import Portion
from connector.sync import bson

Line = Mapping[str, Any]
_DATA = b',"data":'  # stands once in an op: within a text quotes are escaped


class Ops(NamedTuple):
    """A `data` line: some ops of a bucket after an op id."""

    bucket: str
    after: int
    portion: Portion


@dataclass(frozen=True, slots=True)
class Format:
    """How lines are written."""

    content_type: str
    line: Callable[[Line], bytes]
    ops: Callable[[Ops], bytes]


def _json_line(line: Line) -> bytes:
    return orjson.dumps(line) + b"\n"


def _json_ops(ops: Ops) -> bytes:
    return _joined(ops, ops.portion.texts)


def _json_ops_with_objects(ops: Ops) -> bytes:
    """Rows as objects instead of their text, as clients get them that do not ask for `raw_data`."""
    return _joined(ops, [_with_object(text) for text in ops.portion.texts])


def _with_object(text: bytes) -> bytes:
    head, mark, rest = text.partition(_DATA)
    return b'%b,"data":%b}' % (head, orjson.loads(rest[:-1]).encode()) if mark and rest != b"null}" else text


def _joined(ops: Ops, texts: list[bytes]) -> bytes:
    more = b"true" if ops.portion.more else b"false"
    return b'{"data":{"bucket":%b,"after":"%d","has_more":%b,"data":[%b],"next_after":"%d"}}\n' % (
        orjson.dumps(ops.bucket),
        ops.after,
        more,
        b",".join(texts),
        ops.portion.last,
    )


def _bson_op(op: dict[str, Any]) -> bytes:
    """`bson.document` of an op, spelled out: a client's first download is made of these."""
    if op.get("data") is None:
        return bson.document(op)
    op_id, kind, object_type, object_id, checksum, subkey, row = op.values()
    fields = (
        bson.text(op_id),
        bson.text(kind),
        bson.text(object_type),
        bson.text(object_id),
        bson.field("checksum", *bson.whole(checksum)),
        bson.text(subkey),
        bson.text(row),
    )
    content = b"\x02op_id\0%b\x02op\0%b\x02object_type\0%b\x02object_id\0%b%b\x02subkey\0%b\x02data\0%b" % fields
    return bson.framed((content,))


def _bson_ops(ops: Ops) -> bytes:
    content = bson.documents(_bson_op(orjson.loads(text)) for text in ops.portion.texts)
    before = bson.document({"bucket": ops.bucket, "after": str(ops.after), "has_more": ops.portion.more})
    behind = bson.document({"next_after": str(ops.portion.last)})
    inner = bson.framed((before[4:-1], bson.field("data", b"\x04", content), behind[4:-1]))
    return bson.framed((bson.field("data", b"\x03", inner),))


NDJSON = Format("application/x-ndjson", _json_line, _json_ops)
NDJSON_OBJECTS = Format("application/x-ndjson", _json_line, _json_ops_with_objects)
BSON = Format("application/vnd.powersync.bson-stream", bson.document, _bson_ops)


def format_for(accept: str, *, raw_data: bool) -> Format:
    """The format that an Accept header prefers; JSON for whatever is not known. BSON always has rows as text."""
    preferred, best = NDJSON.content_type, 0.0
    for part in accept.split(","):
        kind, _, options = part.strip().partition(";")
        quality = _quality(options)
        if kind.strip() in (NDJSON.content_type, BSON.content_type) and quality > best:
            preferred, best = kind.strip(), quality
    if preferred == BSON.content_type:
        return BSON
    return NDJSON if raw_data else NDJSON_OBJECTS


def _quality(options: str) -> float:
    for option in options.split(";"):
        name, _, value = option.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
