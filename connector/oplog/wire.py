"""An op as clients read it: one JSON object, made once, when the op is stored (powersync.md 3.1, 4.1)."""

from __future__ import annotations

import orjson

from connector.oplog.ops import Op, signed


def wire_text(op: Op) -> bytes:
    """`{"op_id":"11","op":"PUT","object_type":…,"object_id":…,"checksum":…,"subkey":…,"data":text}`; of what
    compaction leaves only id, op and checksum, a CLEAR's signed."""
    if op["op"] in ("MOVE", "CLEAR"):
        checksum = signed(op["checksum"]) if op["op"] == "CLEAR" else op["checksum"]
        return orjson.dumps({"op_id": str(op["op_id"]), "op": op["op"], "checksum": checksum})
    return orjson.dumps(
        {
            "op_id": str(op["op_id"]),
            "op": op["op"],
            "object_type": op["object_type"],
            "object_id": op["object_id"],
            "checksum": op["checksum"],
            "subkey": op["subkey"],
            "data": op["data"],
        }
    )
