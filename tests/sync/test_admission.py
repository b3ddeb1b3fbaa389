"""Keys from a real URL, and from the state folder: read, rotated, away."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from connector.cli import main
from connector.errors import BadConfig
from connector.settings import Settings
from connector.sync import development, keys
from connector.sync.admission import Admission
from connector.sync.keys import AGAIN_AFTER, GONE_AFTER, OLD_AFTER, KeySet
from connector.sync.refusals import Refused
from connector.sync.tokens import Token
from tests.sync.signing import CLAIMS, NOW, Signer, encoded, signer

FIRST, SECOND, STRANGER = (signer("ES256", kid, number=n) for n, kid in enumerate(("first", "second", "stranger")))
SHARED = signer("HS256", "shared")


class Url(ThreadingHTTPServer):
    """A backend that publishes keys, and counts who asks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.body, self.headers, self.asked = 200, b"", {}, 0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def publish(self, *signers: Signer) -> None:
        self.status, self.body = 200, json.dumps({"keys": [each.jwk for each in signers]}).encode()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/keys"


class Answer(BaseHTTPRequestHandler):
    server: Url

    def do_GET(self) -> None:
        self.server.asked += 1
        assert self.server.goes_on.wait(30)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def url() -> Iterator[Url]:
    server = Url()
    server.publish(FIRST)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.goes_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


def settings(folder: Path, **named: Any) -> Settings:
    return Settings(folder / "syncline.yaml", "", "", "", "", state=folder / "state", **named)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine is no slow URL."""
    monkeypatch.setattr(keys, "PATIENCE", 60.0)
    monkeypatch.setattr(keys, "TIMEOUT", 60.0)


Judge = Callable[[Signer, float], Awaitable[Token | str]]


def asking(given: Settings, script: Callable[[Admission, Judge], Awaitable[None]]) -> None:
    """Run a script in one event loop; times are seconds after NOW, refusals their status and code."""

    async def run() -> None:
        admission = Admission(given)

        async def judge(who: Signer, after: float) -> Token | str:
            claims = {**CLAIMS, "iat": NOW + after, "exp": NOW + after + 300}
            try:
                return await admission.admit(who.header(claims), NOW + after)
            except Refused as told:
                return f"{told.status} {told.code}"

        try:
            await script(admission, judge)
        finally:
            await admission.close()

    asyncio.run(run())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


def published(folder: Path, url: Url, **more: Any) -> Settings:
    return settings(folder, audience=("app",), jwks_uri=url.address, **more)


# -- a URL --


def test_keys_are_read_once_for_many(tmp_path: Path, url: Url) -> None:
    async def script(_: Admission, judge: Judge) -> None:
        assert url.asked == 0  # a start waits for nobody
        found = await asyncio.gather(*(judge(FIRST, 0) for _ in range(20)))
        assert all(isinstance(one, Token) for one in found)
        assert isinstance(await judge(FIRST, OLD_AFTER - 1), Token)
        assert url.asked == 1

    asking(published(tmp_path, url), script)


def test_a_rotated_key_is_taken_at_once_and_a_withdrawn_one_soon_not(tmp_path: Path, url: Url) -> None:
    async def script(_: Admission, judge: Judge) -> None:
        assert isinstance(await judge(FIRST, 0), Token)
        url.publish(SECOND)
        assert isinstance(await judge(SECOND, AGAIN_AFTER), Token)
        assert await judge(FIRST, AGAIN_AFTER + 1) == "401 PSYNC_S2101"
        url.publish(FIRST)

        async def refreshed() -> bool:
            return await judge(SECOND, AGAIN_AFTER + OLD_AFTER) == "401 PSYNC_S2101"

        await until(refreshed)  # beside its use
        assert isinstance(await judge(FIRST, AGAIN_AFTER + OLD_AFTER), Token)

    asking(published(tmp_path, url), script)


def test_strangers_do_not_make_us_ask_often(tmp_path: Path, url: Url) -> None:
    async def script(_: Admission, judge: Judge) -> None:
        for tenth in range(200):
            assert await judge(STRANGER, tenth / 10) == "401 PSYNC_S2101"
        assert url.asked == 2  # at 0 s, at 10 s

    asking(published(tmp_path, url), script)


def test_a_url_that_goes_away(tmp_path: Path, url: Url) -> None:
    async def script(_: Admission, judge: Judge) -> None:
        assert isinstance(await judge(FIRST, 0), Token)
        url.status = 500
        assert isinstance(await judge(FIRST, OLD_AFTER), Token)
        assert isinstance(await judge(FIRST, GONE_AFTER - 1), Token)
        assert await judge(SECOND, GONE_AFTER - 1) == "503 PSYNC_S2204"  # it may be rotated
        assert await judge(FIRST, GONE_AFTER) == "503 PSYNC_S2204"
        url.publish(FIRST)
        assert isinstance(await judge(FIRST, GONE_AFTER + AGAIN_AFTER), Token)
        assert await judge(SECOND, GONE_AFTER + AGAIN_AFTER) == "401 PSYNC_S2101"

    asking(published(tmp_path, url), script)


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (404, b"{}", {}),
        (302, b"", {"Location": "/elsewhere"}),
        (200, b"<html>", {}),
        (200, b"[]", {}),
        (200, b'{"keys": [' + b" " * keys.MAX_BYTES + b"]}", {}),
        (200, b"\x1f\x8b\x08", {"Content-Encoding": "gzip"}),
    ],
)
def test_what_is_no_key_set(tmp_path: Path, url: Url, status: int, body: bytes, headers: dict[str, str]) -> None:
    url.status, url.body, url.headers = status, body, headers

    async def script(_: Admission, judge: Judge) -> None:
        assert await judge(FIRST, 0) == "503 PSYNC_S2204"
        assert await judge(FIRST, AGAIN_AFTER - 1) == "503 PSYNC_S2204"
        assert url.asked == 1

    asking(published(tmp_path, url), script)


def test_nobody_listens(tmp_path: Path) -> None:
    async def script(_: Admission, judge: Judge) -> None:
        assert await judge(FIRST, 0) == "503 PSYNC_S2204"

    asking(settings(tmp_path, audience=("app",), jwks_uri="http://127.0.0.1:1/"), script)
    asking(settings(tmp_path, audience=("app",), jwks_uri="http://[/"), script)


def test_a_slow_url_lets_go_of_clients_and_ends_cleanly(
    tmp_path: Path, url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PATIENCE", 0.05)
    url.goes_on.clear()

    async def script(_: Admission, judge: Judge) -> None:
        assert await judge(FIRST, 0) == "503 PSYNC_S2204"
        impatient = asyncio.ensure_future(judge(FIRST, 0))
        await asyncio.sleep(0)
        impatient.cancel()  # a client that leaves does not end the request of the others

        async def arrived() -> bool:
            url.goes_on.set()
            return isinstance(await judge(FIRST, 1), Token)

        await until(arrived)
        assert url.asked == 1
        url.goes_on.clear()
        assert await judge(SECOND, AGAIN_AFTER) == "401 PSYNC_S2101"  # closed with a request under way

    asking(published(tmp_path, url), script)


def test_old_keys_are_used_while_they_are_read_again(tmp_path: Path, url: Url) -> None:
    async def script(_: Admission, judge: Judge) -> None:
        assert isinstance(await judge(FIRST, 0), Token)
        url.goes_on.clear()
        async with asyncio.timeout(20):
            assert isinstance(await judge(FIRST, OLD_AFTER), Token)
        url.goes_on.set()

    asking(published(tmp_path, url), script)


def test_a_published_secret_is_none(tmp_path: Path, url: Url) -> None:
    url.publish(FIRST, SHARED)

    async def script(_: Admission, judge: Judge) -> None:
        assert await judge(SHARED, 0) == "401 PSYNC_S2101"

    asking(published(tmp_path, url), script)


def test_keys_of_the_settings_need_no_url(tmp_path: Path, url: Url) -> None:
    async def script(_: Admission, judge: Judge) -> None:
        assert isinstance(await judge(SHARED, 0), Token)
        assert url.asked == 0
        assert isinstance(await judge(FIRST, 0), Token)

    asking(published(tmp_path, url, jwks={"keys": [SHARED.jwk]}), script)


def test_garbage_asks_nobody(tmp_path: Path, url: Url) -> None:
    async def script(admission: Admission, _: Judge) -> None:
        unsigned = f"{encoded({'alg': 'none'})}.{encoded(CLAIMS)}."
        for header in (None, "", "Token a.b.c", f"Token {unsigned}"):
            with pytest.raises(Refused) as told:
                await admission.admit(header, NOW)
            assert told.value.status == 401
        assert url.asked == 0

    asking(published(tmp_path, url), script)


@pytest.mark.parametrize("back", [1, 100_000])
def test_a_clock_that_is_set_back_stops_nothing(back: float) -> None:
    known = KeySet(read=NOW, asked=NOW)
    assert known.may_ask(NOW - back) is (back > AGAIN_AFTER)
    assert known.is_due(NOW - back) is (back > AGAIN_AFTER)


# -- development --


def test_a_printed_token_is_let_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "syncline.yaml"
    file.write_text("kafka: a\nregistry: http://b\nconnect: http://c\npostgres: d\ndevelopment_tokens: true\n")
    claims = '{"parameters": {"a": 1}, "sub2": "x"}'
    assert main(["--settings", str(file), "token", "--sub", "u1", "--claims", claims, "--expires", "60"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    given = Settings(file, "", "", "", "", state=tmp_path / ".syncline", development_tokens=True)

    async def admitted() -> Token:
        claimed = json.loads(content_of(line))
        return await Admission(given).admit(f"Bearer {line}", claimed["iat"])

    token = asyncio.run(admitted())
    assert (token.user_id, token.claims["parameters"], token.claims["sub2"]) == ("u1", {"a": 1}, "x")
    assert token.expires_at - token.claims["iat"] == 60


def content_of(token: str) -> bytes:
    """The claims of a token, unverified."""
    content = token.split(".")[1]
    return base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))


@pytest.mark.parametrize(
    "arguments", [["--expires", "0"], ["--expires", "86401"], ["--expires", "x"], ["--claims", "["], ["--claims", "[]"]]
)
def test_arguments_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", "--sub", "u1", *arguments])
    assert ended.value.code == 2


def test_no_token_is_printed_where_it_is_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "syncline.yaml"
    file.write_text("kafka: a\nregistry: http://b\nconnect: http://c\npostgres: d\n")
    assert main(["--settings", str(file), "token", "--sub", "u1"]) == 1
    told = capsys.readouterr()
    assert (told.out, "hint: on a machine for development" in told.err) == ("", True)
    assert not (tmp_path / ".syncline").exists()


def test_all_who_start_at_once_have_one_key_that_others_cannot_read(tmp_path: Path) -> None:
    given = settings(tmp_path, development_tokens=True)
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: development.key(given), range(64)))
    assert len(found) == 1
    (file,) = given.state.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("development-key", 0o600)
    other = settings(tmp_path / "other", development_tokens=True)
    assert development.key(other) != development.key(given)


@pytest.mark.parametrize("content", ["", "00", "no key", "\x00"])
def test_a_damaged_key_is_named(tmp_path: Path, content: str) -> None:
    given = settings(tmp_path, development_tokens=True)
    given.state.mkdir()
    (given.state / development.FILE).write_text(content)
    with pytest.raises(BadConfig, match="cannot be used") as raised:
        Admission(given)
    assert "delete it" in raised.value.report()


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    given = settings(tmp_path, development_tokens=True)
    os.symlink(tmp_path / "missing" / "nowhere", given.state)
    with pytest.raises(BadConfig, match="cannot be used"):
        Admission(given)


def test_it_is_said_loudly(tmp_path: Path) -> None:
    told = development.warning(settings(tmp_path, development_tokens=True)) or ""
    assert "DEVELOPMENT TOKENS ARE ON" in told
    assert str(tmp_path / "state" / "development-key") in told
    assert development.warning(settings(tmp_path)) is None


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({}, "audience"),
        ({"audience": ("app",)}, "no key"),
        ({"jwks": {"keys": [SHARED.jwk]}}, "audience"),
        ({"audience": ("app",), "jwks": {"keys": [SHARED.jwk, SHARED.jwk]}}, 'two keys have the kid "shared"'),
        (
            {"development_tokens": True, "jwks": {"keys": [{**SHARED.jwk, "kid": "development"}]}},
            'two keys have the kid "development"',
        ),
    ],
)
def test_settings_that_let_nobody_in(tmp_path: Path, named: dict[str, Any], told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        Admission(settings(tmp_path, **named))
