"""Who is let in: the keys of the settings file, of a URL and of development, asked as one."""

from __future__ import annotations

from connector.errors import BadConfig
from connector.settings import Settings
from connector.sync import development, tokens
from connector.sync.jwk import Key, given_keys
from connector.sync.keys import PublishedKeys
from connector.sync.refusals import unavailable
from connector.sync.tokens import Presented, Token


class Admission:
    """Judges tokens. Of one event loop; `close` it there.

    Raises BadConfig where the settings name no key or no audience, or a key that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._audience = development.audience(settings)
        self._fixed = given_keys(settings.jwks, str(settings.path))
        if settings.development_tokens:
            self._fixed += (development.key(settings),)
        self._published = PublishedKeys(settings.jwks_uri) if settings.jwks_uri else None
        if not self._fixed and self._published is None:
            raise BadConfig(
                "no client can be let in: no key is known that could have signed its token",
                where=str(settings.path),
                hint="name your backend's keys: `jwks_uri` or `jwks`; for development set `development_tokens: true`",
            )
        _refuse_twins(self._fixed, str(settings.path))

    async def admit(self, header: str | None, now: float) -> Token:
        """The token of an Authorization header. Raises Refused: 401, or 503 where a key may be out of reach."""
        presented = tokens.present(header)
        if not await self._is_signed(presented, now):
            if self._published is not None and self._published.are_away(now):
                raise unavailable("PSYNC_S2204", "JWKS request failed")
            raise tokens.no_key()
        return tokens.judge(presented, self._audience, now)

    async def close(self) -> None:
        """Let go of a request for keys."""
        if self._published is not None:
            await self._published.close()

    async def _is_signed(self, presented: Presented, now: float) -> bool:
        if tokens.is_signed(presented, self._fixed):
            return True
        if self._published is None:
            return False
        if tokens.is_signed(presented, await self._published.keys(now)):
            return True
        return tokens.is_signed(presented, await self._published.newer(now))


def _refuse_twins(keys: tuple[Key, ...], where: str) -> None:
    kids = [key.kid for key in keys if key.kid is not None]
    for kid in kids:
        if kids.count(kid) > 1:
            hint = f'"{development.KID}" is that of development_tokens'
            raise BadConfig(f'two keys have the kid "{kid}"', where=where, hint=hint)
