"""Content encodings of a stream: each line can be read as soon as it is sent."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

from cramjam import zstd

GZIP_WINDOW, GZIP_MEMORY, GZIP_LEVEL = 16 + 13, 5, 3  # 33 KB for each client that is connected, instead of 256
ZSTD_LEVEL = 1
ZSTD_PIECE = 16 * 1024  # bytes: a compressor keeps what it was once given, 1.4 MB after a line of 1 MB, 72 KB with this


class Encoder(NamedTuple):
    """`chunk` encodes what can be read at once, `end` what a whole stream ends with."""

    chunk: Callable[[bytes], bytes]
    end: Callable[[], bytes]


def encoding_for(accepted: str) -> str | None:
    """The encoding for an Accept-Encoding header: zstd, else gzip, else none."""
    names = {part.partition(";")[0].strip().lower() for part in accepted.split(",") if not _refused(part)}
    return next((name for name in ("zstd", "gzip") if name in names), None)


def _refused(part: str) -> bool:
    return part.replace(" ", "").lower().rpartition(";q=")[2] in ("0", "0.0", "0.00", "0.000")


def encoder(encoding: str | None) -> Encoder:
    """Encodes one chunk after the other of one stream."""
    return _ENCODERS[encoding]()


def _zstd() -> Encoder:
    compressor = zstd.Compressor(ZSTD_LEVEL)

    def chunk(text: bytes) -> bytes:
        pieces = []
        for start in range(0, len(text), ZSTD_PIECE):
            compressor.compress(text[start : start + ZSTD_PIECE])
            pieces.append(bytes(compressor.flush()))
        return b"".join(pieces)

    return Encoder(chunk, lambda: bytes(compressor.finish()))


def _gzip() -> Encoder:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW, GZIP_MEMORY)
    return Encoder(lambda text: compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH), compressor.flush)


def _identity() -> Encoder:
    return Encoder(lambda text: text, bytes)


_ENCODERS: dict[str | None, Callable[[], Encoder]] = {"zstd": _zstd, "gzip": _gzip, None: _identity}
