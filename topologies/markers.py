"""Write checkpoints at a node: markers emitted into the source database, and found again in `<app>.markers` (rule V4).

A request is one statement, committed when the client is told its id; nothing is stored before it (decision 51).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import psycopg
from confluent_kafka import KafkaError, TopicPartition

from connector.errors import Gap, Unavailable
from connector.settings import Settings
from connector.source import markers
from connector.sync.refusals import too_many, unavailable
from connector.sync.write_checkpoints import Client, Told, WriteCheckpoints, following, needs_marker
from schemas.codec import Codec
from topologies import kafka
from topologies.topics import Topics

CONNECTIONS = 4  # each commits one marker at a time; Postgres flushes them together
MOST_WAITING = 200
PATIENCE = 5.0  # seconds
CHUNK = 500

# The id: the source's timeline and where its log ends, or one more than the client has seen. Both are read before the
# message is written, so that a marker with this id or a higher one follows every write committed until now. One at a
# time for a client, so that its newest marker, which is what compaction leaves, has its highest id.
_EMIT = """
WITH alone AS MATERIALIZED (
         SELECT pg_advisory_xact_lock(hashtextextended(%(prefix)s::text || %(opening)s::text, 0))),
     here AS MATERIALIZED (SELECT pg_current_wal_insert_lsn() AS lsn FROM alone),
     chosen AS MATERIALIZED (
         SELECT greatest((('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::bigint << 48) + (lsn - '0/0'::pg_lsn),
                         %(least)s::bigint)::bigint AS id
         FROM here)
SELECT id, pg_logical_emit_message(true, %(prefix)s::text, %(opening)s::text || id || '}') FROM chosen
"""
_EMIT_GIVEN = """
SELECT %(id)s::bigint, pg_logical_emit_message(true, %(prefix)s::text, %(opening)s::text || %(id)s::bigint || '}')
"""

log = logging.getLogger(__name__)


class Markers:
    """Follows the markers' topic. One thread polls; any thread may ask `checkpoints`."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        """Reads the topic to its end. Raises Unavailable."""
        self._codec = codec
        self._topic = Topics(settings.app).markers
        self.checkpoints = WriteCheckpoints()
        reader = kafka.consumer(settings)
        try:
            low, high = kafka.watermarks(reader, self._topic)
            for message in kafka.read_range(reader, self._topic, 0, low, high):
                self._add(message.value())
        finally:
            reader.close()
        self._reader = kafka.follower(settings)
        self._reader.assign([TopicPartition(self._topic, 0, high)])

    def poll(self) -> bool:
        """Take what has come; whether anything has. Raises Gap, Unavailable."""
        came = False
        while messages := self._reader.consume(CHUNK, timeout=0):
            for message in messages:
                error = message.error()
                if error is None:
                    self._add(message.value())
                    came = True
                elif error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                    raise Gap(f"{self._topic} was made again: {error.str()}", where=self._topic)
                elif error.fatal():
                    raise Unavailable(error.str(), where=self._topic)
        return came

    def close(self) -> None:
        self._reader.close()

    def _add(self, value: bytes | None) -> None:
        if value is not None:
            self.checkpoints.add(self._codec.decode(value))


class Emitter:
    """Emits markers into the source database, on the event loop that makes it. A connection is made when it is needed,
    and made again when it is lost."""

    def __init__(self, settings: Settings, known: Callable[[Client], int | None]) -> None:
        """`known` gives the highest id of a client that has come through the log."""
        self._dsn = settings.postgres
        self._prefix = markers.prefix(settings.app)
        self._known = known
        self._told = Told()
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._waiting = 0
        self._away = False

    async def write_checkpoint(self, client: Client) -> int:
        """A new id, once its marker is committed. Raises Refused."""
        least = following(self._told.highest(client, self._known(client)))
        number = await self._emit(_EMIT, client, {"least": least})
        self._told.add(client, number)
        return number

    async def checkpoint_request(self, client: Client, wanted: int) -> int:
        """The id that holds for a client that asks for `wanted`: its highest. Raises Refused."""
        known = self._known(client)
        highest = self._told.highest(client, known)
        if needs_marker(wanted, known, highest):
            await self._emit(_EMIT_GIVEN, client, {"id": wanted})
            self._told.add(client, wanted)
        return max(wanted, highest) if highest is not None else wanted

    async def renew(self, client: Client) -> None:
        """For a client that has been connected for a while, and of whom nothing is known: a marker that it waits for
        may have got lost with the source's log, or be too old. Raises Refused.
        """
        if self._told.highest(client, self._known(client)) is None:
            await self.write_checkpoint(client)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _emit(self, statement: str, client: Client, parameters: dict[str, Any]) -> int:
        if self._waiting >= MOST_WAITING:
            raise too_many("PSYNC_S2304", "Too many write checkpoints at once")
        parameters |= {"prefix": self._prefix, "opening": markers.opening(*client)}
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE), self._turns:
                number = await self._asked(statement, parameters)
        except (psycopg.Error, OSError, TimeoutError) as error:
            self._now_away(str(error).strip() or f"no answer within {PATIENCE:.0f} s")
            raise unavailable("PSYNC_S2003", "The source database is not available") from error
        finally:
            self._waiting -= 1
        self._now_away(None)
        return number

    def _now_away(self, reason: str | None) -> None:
        """Tell the operator when the database goes away and when it is back."""
        if reason is not None and not self._away:
            log.warning("no write checkpoints: %s", reason)
        elif reason is None and self._away:
            log.info("write checkpoints again")
        self._away = reason is not None

    async def _asked(self, statement: str, parameters: dict[str, Any]) -> int:
        """Once more where an idle connection turns out to be lost: a marker that is emitted twice is harmless."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._ask(connection, statement, parameters)
            except psycopg.OperationalError:
                continue
        return await self._ask(await self._connected(), statement, parameters)

    async def _ask(self, connection: psycopg.AsyncConnection[Any], statement: str, parameters: dict[str, Any]) -> int:
        try:
            cursor = await connection.execute(statement, parameters)
            row = await cursor.fetchone()
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return int(row[0]) if row else 0

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=int(PATIENCE), prepare_threshold=None
        )
