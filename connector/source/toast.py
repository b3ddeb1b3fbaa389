"""TOAST placeholders (rule S10): what Debezium writes where Postgres did not send an unchanged long value.

Forms as in Debezium's UnchangedToastedPlaceholder: text (also in text arrays, json, hstore, bytes), an integer array
of its bytes, a UUID made of it.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Any

DEFAULT = "__debezium_unavailable_value"


class Placeholder:
    """Finds the placeholder in rows; `text` is the connector's `unavailable.value.placeholder`."""

    def __init__(self, text: str = DEFAULT) -> None:
        self.text = text
        plain = text.encode()
        self._uuid = str(uuid.UUID(bytes=hashlib.md5(plain, usedforsecurity=False).digest(), version=3))
        numbers = b"".join(_varint(byte << 1) for byte in plain)
        forms = (plain, numbers, self._uuid.encode())
        self._search = re.compile(b"|".join(map(re.escape, forms)), re.DOTALL).search
        self._values = (text, plain, list(plain), self._uuid)

    def suspected(self, row: bytes) -> bool:
        """False: surely none. True: decode the row and ask `present`."""
        return self._search(row) is not None

    def present(self, value: Any) -> bool:
        """Whether a decoded row, or a value in it, is the placeholder."""
        if value in self._values:
            return True
        if isinstance(value, dict):
            return any(map(self.present, value.values()))
        return isinstance(value, list) and len(value) == 1 and self.present(value[0])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))
