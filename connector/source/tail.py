"""A change event read by patterns learned from the first event of its schema, five times faster than decoding it.

Under one schema the source block begins with the same bytes in every event (connector version and name), so its last
occurrence is where the rows end. Most strings of that block never change and the others delimit themselves: one
regular expression matches it. What does not match is decoded in full by the envelope.
"""

from __future__ import annotations

import re
from typing import Any

from connector.source.avro import branches

_VARINT = rb"[\x80-\xff]*[\x00-\x7f]"
_SNAPSHOT = ("false", "true", "first", "first_in_data_collection", "last_in_data_collection", "last", "incremental")
_NUMBERS = ("int", "long")
_REST = ("transaction", "op", "ts_ms", "ts_us", "ts_ns")
_TIME = rb"(?:\x00|\x02" + _VARINT + rb")"
_BLOCK = re.compile(rb"(" + _VARINT + rb")" + _VARINT + rb"\x02([cudtrm])" + _TIME + rb"{3}\Z", re.DOTALL).match
_NO_BLOCK = re.compile(rb"\x00\x02([cudtrm])" + _TIME + rb"{3}\Z", re.DOTALL).match
_OPS = {op: op.decode() for op in (b"c", b"u", b"d", b"t", b"r", b"m")}

Blocks = tuple[str, int, int, int, str, int]  # op, last commit, LSN, order, transaction, committed at


class Template:
    """The patterns of the events of one schema and table."""

    def __init__(self, prefix: bytes, source: bytes, table: str) -> None:
        self.prefix = prefix
        self.table = table
        pattern = re.compile(source, re.DOTALL)
        self._source = pattern.match
        names = pattern.groupindex
        self._last, self._lsn, self._time = names["last"], names["lsn"], names["ts"]
        self._known_last: tuple[bytes | None, int] = (None, 0)
        self._known_time: tuple[bytes, int] = (b"", 0)

    @staticmethod
    def learn(fields: list[dict[str, Any]], parts: dict[str, Any]) -> Template | None:
        """The patterns for events like this one; None where the blocks hold what they cannot express."""
        if [field["name"] for field in fields] != ["source", *_REST]:
            return None
        if any(branches(field["type"])[0] != "null" for field in fields[1:] if field["name"] != "op"):
            return None
        source, columns = parts["source"], fields[0]["type"]["fields"]
        shapes = [_shape(column["name"], column["type"], source[column["name"]]) for column in columns]
        if None in shapes or not {"ts_ms", "sequence"} <= source.keys():
            return None
        prefix = b"".join(_encoded(source[name]) for name in _leading_strings(columns))
        return Template(prefix, b"".join(filter(None, shapes)), f"{source['schema']}.{source['table']}")

    def match(self, value: bytes, start: int) -> Blocks | None:
        """The blocks that fill `value` from `start` on; None where they do not fit the patterns."""
        source = self._source(value, start)
        if source is None:
            return None
        at = source.end()
        transaction, order = "", 0
        if value[at : at + 1] == b"\x02":
            end = at + 2 + (value[at + 1] >> 1)
            rest = _BLOCK(value, end)
            if rest is None:
                return None
            number, op = rest.groups()
            order = number[0] >> 1 if len(number) == 1 else long(number)
            transaction = value[at + 2 : value.find(b":", at + 2)].decode()
        else:
            rest = _NO_BLOCK(value, at)
            if rest is None:
                return None
            op = rest[1]
        last_commit, lsn = self._last_commit(source[self._last]), int(source[self._lsn] or 0)
        return _OPS[op], last_commit, lsn, order, transaction, self._committed(source[self._time])

    def _last_commit(self, digits: bytes | None) -> int:
        known, number = self._known_last  # the same in all rows of a transaction
        if digits != known:
            number = int(digits or 0)
            self._known_last = (digits, number)
        return number

    def _committed(self, encoded: bytes) -> int:
        known, moment = self._known_time
        if encoded != known:
            moment = long(encoded)
            self._known_time = (encoded, moment)
        return moment


def long(encoded: bytes) -> int:
    """An Avro long."""
    number = shift = 0
    for byte in encoded:
        number |= (byte & 0x7F) << shift
        shift += 7
    return number >> 1 ^ -(number & 1)


def _leading_strings(columns: list[dict[str, Any]]) -> list[str]:
    """The columns before the first that changes from event to event."""
    names = []
    for column in columns:
        if column["type"] != "string":
            break
        names.append(str(column["name"]))
    return names


def _shape(name: str, schema: Any, sample: Any) -> bytes | None:
    """The pattern of one field of the source block; None where there is none."""
    types = branches(schema)
    others = [index for index, branch in enumerate(types) if branch != "null"]
    if len(others) != 1:
        return None
    chosen = types[others[0]]
    plain = chosen["type"] if isinstance(chosen, dict) else chosen
    shape = _plain_shape(name, plain, sample)
    if shape is None or len(types) == 1:
        return shape
    there, absent = (b"\\x00", b"\\x02") if others[0] == 0 else (b"\\x02", b"\\x00")
    return rb"(?:" + absent + rb"|" + there + shape + rb")"


def _plain_shape(name: str, plain: Any, sample: Any) -> bytes | None:
    if plain in _NUMBERS:
        return rb"(?P<ts>" + _VARINT + rb")" if name == "ts_ms" else _VARINT
    if plain != "string":
        return None
    if name == "sequence":
        return rb'.\[(?:"(?P<last>\d+)"|null),(?:"(?P<lsn>\d+)"|null)\]'
    if name == "snapshot":
        return rb"(?:" + b"|".join(map(_literal, _SNAPSHOT)) + rb")"
    return _literal(sample or "")


def _literal(text: str) -> bytes:
    return re.escape(_encoded(text))


def _encoded(text: str) -> bytes:
    """An Avro string."""
    body = text.encode()
    number, length = len(body) << 1, bytearray()
    while number > 0x7F:
        length.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*length, number)) + body
