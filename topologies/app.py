"""Makes the Faust apps: read_committed, explicit seeks, quick restarts (rule T1).

Stock Faust reads uncommitted records unless it runs transactions of its own, goes to the committed offsets of its
group, and resets to an end of the log where there are none. All three are settled here and nowhere else.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import aiokafka
import faust
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from connector.kafka_security import MECHANISM, PASSWORD, USERNAME, context
from connector.settings import Settings
from topologies.topics import Topics

SESSION_TIMEOUT = 6.0  # seconds; the least that brokers allow by default

# (offset committed by the group or None, first offset in the log) → offset to start at
StartOffset = Callable[[int | None, int], int]


class CommittedReader(driver.AIOKafkaConsumerThread):
    """The consumer's thread, with a client that never sees an aborted record."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=500,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials),
        )


class SeekingConsumer(driver.Consumer):
    """A consumer that starts where the app says, whatever the group has committed (law 6)."""

    def _new_consumer_thread(self) -> CommittedReader:
        return CommittedReader(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Seek every assigned partition explicitly; called by Faust after each assignment."""
        client = self._thread._ensure_consumer()
        for tp in self.assignment():
            committed = await self._thread.call_thread(client.committed, tp)
            first = (await self.earliest_offsets(tp))[tp]
            offset = cast(StreamApp, self.app).start_offset(committed, first)
            await self.seek_wait({tp: offset})
            self._read_offset[tp] = None
            self._committed_offset[tp] = committed

    def on_buffer_full(self, tp: TP) -> None:
        """A full queue holds the fetcher back by itself; Faust would leave the partition alone for a second."""

    def _new_offset(self, tp: TP) -> int | None:
        """The offset to commit. Events of a stream are acknowledged in their order, so it is after the newest.

        Faust's own reckoning takes the offsets of transaction markers for events still open, and stops committing.
        """
        acked = self._acked[tp]
        newest = max(acked, default=None)
        acked.clear()
        self._acked_index[tp].clear()
        return None if newest is None else newest + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps are markers and aborted records: nothing to wait for."""


class SeekingTransport(driver.Transport):
    Consumer: ClassVar[type[driver.Consumer]] = SeekingConsumer


class NoTables(TableManager):
    """A stream has no tables. Faust would leave them a second to be declared in before it subscribes."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class StreamApp(faust.App):
    """A Faust app that reads the change log from an offset of its own choice."""

    start_offset: StartOffset

    def _new_transport(self) -> SeekingTransport:
        return SeekingTransport(self.conf.broker_consumer, self)


def make_app(settings: Settings, stream: str, start_offset: StartOffset) -> StreamApp:
    """The app `<app>.stream.<stream>`. Its id is the consumer group: the same name goes on where it was (law 1)."""
    folder = settings.state / "faust" / stream
    folder.parent.mkdir(parents=True, exist_ok=True)
    app = StreamApp(
        Topics(settings.app).stream(stream),
        broker=";".join(f"kafka://{address}" for address in settings.kafka.split(",")),
        broker_credentials=_credentials(settings.kafka_security),
        datadir=str(folder),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_session_timeout=SESSION_TIMEOUT,
        broker_heartbeat_interval=SESSION_TIMEOUT / 4,
        broker_rebalance_timeout=SESSION_TIMEOUT,
        broker_commit_interval=0.5,  # main's offset stands still for less than 1 s
        broker_max_poll_records=16,
        consumer_max_fetch_size=settings.max_request_size,
        consumer_group_instance_id=member_name(settings),
        stream_buffer_maxsize=16,
        stream_wait_empty=False,
        TableManager=NoTables,
    )
    app.start_offset = start_offset
    return app


def _credentials(security: Mapping[str, str]) -> Credentials | None:
    """TLS and login as Faust wants them; None where Kafka is reached without."""
    tls = context(security)
    if MECHANISM not in security:
        return None if tls is None else SSLCredentials(tls)
    return SASLCredentials(
        username=security[USERNAME], password=security[PASSWORD], mechanism=security[MECHANISM], ssl_context=tls
    )


def member_name(settings: Settings) -> str:
    """This node's name in the groups: a restarted process takes its own place at once, without a session's timeout."""
    return f"{socket.gethostname()}.{zlib.crc32(str(settings.state).encode()):08x}"
