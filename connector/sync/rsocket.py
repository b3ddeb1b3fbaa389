"""RSocket 1.0 frames that a sync stream over WebSocket is made of; a frame is a message (rsocket.io/about/protocol).

client: SETUP, REQUEST_STREAM, REQUEST_N, KEEPALIVE, CANCEL      server: PAYLOAD, KEEPALIVE, ERROR
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEAD, _SETUP, _U32, _U64 = struct.Struct(">IH"), struct.Struct(">HHII"), struct.Struct(">I"), struct.Struct(">Q")
_TYPE_BIT = 10  # flags are the bits below
_METADATA, _FOLLOWS, _RESPOND, _RESUME, _LEASE, _COMPLETE, _NEXT = 0x100, 0x80, 0x80, 0x80, 0x40, 0x40, 0x20
_TYPES = {"setup": 1, "keepalive": 3, "request": 6, "request_n": 8, "cancel": 9, "payload": 10, "error": 11}
_OTHER_REQUESTS = (4, 7)  # request and response, channel

UNSUPPORTED_SETUP, REJECTED_SETUP, CONNECTION_ERROR = 0x002, 0x003, 0x101
APPLICATION_ERROR, REJECTED = 0x201, 0x202
CONNECTION = 0  # the stream of frames that concern the whole connection


class Malformed(Exception):
    """A message that is no frame, or one that is not spoken here."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The connection's first frame. `lifetime`: ms without a frame after which the client is taken for gone."""

    lifetime: int
    metadata_type: str
    data_type: str
    metadata: bytes | None


@dataclass(frozen=True, slots=True)
class Request:
    """A stream is asked for, and so many payloads of it."""

    stream: int
    count: int
    metadata: bytes | None
    data: bytes


@dataclass(frozen=True, slots=True)
class More:
    """So many more payloads of a stream are asked for."""

    stream: int
    count: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """A stream is not wanted any more."""

    stream: int


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A sign of life, to be answered with the same content."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Unserved:
    """A request of another kind than a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """A frame that asks for nothing."""


Frame = Setup | Request | More | Cancel | KeepAlive | Unserved | Ignored


def frame(message: bytes) -> Frame:
    """The frame that a message is. Raises Malformed."""
    try:
        stream, bits = _HEAD.unpack_from(message)
        kind, flags, rest = bits >> _TYPE_BIT, bits & ((1 << _TYPE_BIT) - 1), message[_HEAD.size :]
        if kind == _TYPES["setup"]:
            return _setup(flags, rest)
        if kind == _TYPES["request"]:
            return _request(stream, flags, rest)
        if kind == _TYPES["request_n"]:
            return More(stream, _U32.unpack_from(rest)[0])
        if kind == _TYPES["keepalive"]:
            return KeepAlive(rest[_U64.size :]) if flags & _RESPOND else Ignored()
    except struct.error as error:
        raise Malformed("the frame is cut off") from error
    if kind == _TYPES["cancel"] or kind == _TYPES["error"]:
        return Cancel(stream)
    return Unserved(stream) if kind in _OTHER_REQUESTS else Ignored()


def _setup(flags: int, rest: bytes) -> Setup:
    version, _, _, lifetime = _SETUP.unpack_from(rest)
    if version != 1 or flags & (_RESUME | _LEASE):
        raise Malformed("RSocket 1 is spoken, without resuming and leases")
    metadata_type, rest = _short_text(rest[_SETUP.size :])
    data_type, rest = _short_text(rest)
    metadata, _ = _contents(flags, rest)
    return Setup(lifetime, metadata_type, data_type, metadata)


def _request(stream: int, flags: int, rest: bytes) -> Request:
    if flags & _FOLLOWS:
        raise Malformed("requests in several fragments are not supported")
    metadata, data = _contents(flags, rest[_U32.size :])
    return Request(stream, _U32.unpack_from(rest)[0], metadata, data)


def _short_text(rest: bytes) -> tuple[str, bytes]:
    if not rest or len(rest) <= rest[0]:
        raise Malformed("the frame is cut off")
    return rest[1 : 1 + rest[0]].decode("ascii", "replace"), rest[1 + rest[0] :]


def _contents(flags: int, rest: bytes) -> tuple[bytes | None, bytes]:
    """Metadata, which is behind its length of three bytes, and what comes after it."""
    if not flags & _METADATA:
        return None, rest
    end = 3 + int.from_bytes(rest[:3], "big")
    if len(rest) < end:
        raise Malformed("the frame is cut off")
    return rest[3:end], rest[end:]


def element(stream: int, content: bytes) -> bytes:
    """The next element of a stream."""
    return _head(stream, "payload", _NEXT) + content


def complete(stream: int) -> bytes:
    """The end of a stream."""
    return _head(stream, "payload", _COMPLETE)


def error(stream: int, code: int, message: str) -> bytes:
    """The end of a stream, or of the connection, by an error."""
    return _head(stream, "error", 0) + _U32.pack(code) + message.encode()


def keep_alive(content: bytes) -> bytes:
    """The answer to a client's sign of life."""
    return _head(CONNECTION, "keepalive", 0) + _U64.pack(0) + content


def _head(stream: int, kind: str, flags: int) -> bytes:
    return _HEAD.pack(stream, _TYPES[kind] << _TYPE_BIT | flags)
