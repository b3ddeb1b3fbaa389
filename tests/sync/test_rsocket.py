"""RSocket frames: read as rsocket-js writes them, and nothing breaks by what is no frame."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sync import rsocket

# As the SDK (rsocket-core 1.0.0-alpha.3) was seen to send them, with less in them.
SETUP = bytes.fromhex(
    "00000000"  # the connection
    "0500"  # SETUP, with metadata
    "00010000"  # version 1.0
    "00004e20"  # a keep-alive each 20 s
    "00015f90"  # gone after 90 s
    "106170706c69636174696f6e2f6a736f6e"  # application/json
    "106170706c69636174696f6e2f6a736f6e"
    "00000d7b22746f6b656e223a2278227d"  # 13 bytes of metadata
)
REQUEST = bytes.fromhex(
    "00000001"  # stream 1
    "1900"  # REQUEST_STREAM, with metadata
    "0000000a"  # 10 lines
    "0000107b2270617468223a222f73796e63227d"  # 16 bytes of metadata
    "7b7d"
)


def test_frames_of_a_client() -> None:
    setup = rsocket.frame(SETUP)
    assert setup == rsocket.Setup(90_000, "application/json", "application/json", b'{"token":"x"}')
    assert rsocket.frame(REQUEST) == rsocket.Request(1, 10, b'{"path":"/sync"}', b"{}")
    assert rsocket.frame(bytes.fromhex("00000003200000000005")) == rsocket.More(3, 5)
    assert rsocket.frame(bytes.fromhex("000000032400")) == rsocket.Cancel(3)
    assert rsocket.frame(bytes.fromhex("000000000c800000000000000000") + b"hi") == rsocket.KeepAlive(b"hi")
    assert rsocket.frame(bytes.fromhex("000000000c000000000000000000")) == rsocket.Ignored()
    assert rsocket.frame(bytes.fromhex("000000031000") + b"x") == rsocket.Unserved(3)


@given(st.sampled_from((b"", SETUP[:6], SETUP[:20], SETUP[:-16], REQUEST[:6], REQUEST[:10], REQUEST[:13])), st.binary())
def test_no_message_breaks_anything(begun: bytes, rest: bytes) -> None:
    with suppress(rsocket.Malformed):
        rsocket.frame(begun + rest)


@pytest.mark.parametrize("cut", range(1, len(SETUP)))
def test_a_setup_that_is_cut_off_is_none(cut: int) -> None:
    with pytest.raises(rsocket.Malformed):
        rsocket.frame(SETUP[:-cut])
