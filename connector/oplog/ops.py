"""Operations, as the records of an op log hold them (powersync.md 3.1)."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal, TypedDict

OpKind = Literal["PUT", "REMOVE", "MOVE", "CLEAR"]


class Op(TypedDict):
    """One record of `<app>.oplog.<version>`; fields as in schemas/syncline.Op.avsc."""

    op_id: int
    op: OpKind
    version: int
    bucket: str
    object_type: str
    object_id: str
    subkey: str
    checksum: int
    hash: bytes
    data: str | None
    added: bool
    target_op: int  # 0 where none
    position: int


def put_checksum(output_hash: bytes) -> int:
    """The checksum of a PUT, unsigned 32 bit, from its output's hash."""
    return int.from_bytes(output_hash[:4], "little")


def remove_checksum(subkey: str) -> int:
    """The checksum of a REMOVE, unsigned 32 bit."""
    return int.from_bytes(sha256(b"delete." + subkey.encode()).digest()[:4], "little")


def signed(checksum: int) -> int:
    """A sum of checksums as the signed 32-bit number that clients see."""
    low = checksum & 0xFFFFFFFF
    return low - (1 << 32) if low & 0x80000000 else low


def bucket_name(version: int, definition: str, parameters: str) -> str:
    """The bucket id that people and clients see, e.g. `7#by_user["u1"]`; the definition as first named."""
    return f"{version}#{definition}{parameters}"


def put(  # noqa: PLR0917 -- once per op: keywords would cost a tenth of it
    op_id: int,
    version: int,
    bucket: str,
    identity: tuple[str, str, str],
    output_hash: bytes,
    text: str,
    added: bool,
    position: int,
) -> Op:
    """The row `identity` = (type, id, source key) as it now is; `added` where the bucket did not have it."""
    return {
        "op_id": op_id,
        "op": "PUT",
        "version": version,
        "bucket": bucket,
        "object_type": identity[0],
        "object_id": identity[1],
        "subkey": identity[2],
        "checksum": int.from_bytes(output_hash[:4], "little"),
        "hash": output_hash,
        "data": text,
        "added": added,
        "target_op": 0,
        "position": position,
    }


def remove(op_id: int, version: int, bucket: str, identity: tuple[str, str, str], position: int) -> Op:
    """The row `identity` = (type, id, source key) has left the bucket."""
    return {
        "op_id": op_id,
        "op": "REMOVE",
        "version": version,
        "bucket": bucket,
        "object_type": identity[0],
        "object_id": identity[1],
        "subkey": identity[2],
        "checksum": remove_checksum(identity[2]),
        "hash": b"",
        "data": None,
        "added": False,
        "target_op": 0,
        "position": position,
    }


def move(superseded: Op, target: int) -> Op:
    """What compaction leaves of an op that `target` superseded: its id and checksum."""
    return _bare("MOVE", superseded, superseded["checksum"], target)


def clear(last: Op, checksum: int, target: int) -> Op:
    """What compaction leaves of a run of ops that ends with `last`: the sum of their checksums."""
    return _bare("CLEAR", last, checksum & 0xFFFFFFFF, target)


def _bare(kind: OpKind, of: Op, checksum: int, target: int) -> Op:
    return {
        "op_id": of["op_id"],
        "op": kind,
        "version": of["version"],
        "bucket": of["bucket"],
        "object_type": "",
        "object_id": "",
        "subkey": "",
        "checksum": checksum,
        "hash": b"",
        "data": None,
        "added": False,
        "target_op": target,
        "position": of["position"],
    }
