"""Readiness probes: each asks a server what a client would ask it first. They answer, and never raise."""

from __future__ import annotations

import logging

import httpx
import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

PATIENCE = 2.0  # seconds

_silent = logging.getLogger("connector.local.probes.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # a broker that is not up yet is what a probe is for


def http_answers(url: str) -> bool:
    """A GET gives 200."""
    try:
        return httpx.get(url, timeout=PATIENCE, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def kafka_answers(bootstrap: str) -> bool:
    """A client gets the broker in its metadata."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}, logger=_silent)
    try:
        return bool(client.list_topics(timeout=PATIENCE).brokers)
    except KafkaException:
        return False


def postgres_answers(dsn: str) -> bool:
    """A session can be opened on the database."""
    try:
        with psycopg.connect(dsn, connect_timeout=int(PATIENCE)):
            return True
    except psycopg.Error:
        return False
