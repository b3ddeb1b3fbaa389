"""Each exit code has one meaning, and each error its code."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector.errors import Fenced, Gap, Unavailable
from topologies.exits import AWAY, FAILED, FENCED, REWOUND, ended


def test_no_two_ends_share_a_code() -> None:
    """A server away once looked like a rewind: started again at once, for the wrong reason."""
    assert len({0, FAILED, FENCED, REWOUND, AWAY}) == 5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Fenced("x"), FENCED),
        (Unavailable("x"), AWAY),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), AWAY),
        (Gap("x"), FAILED),
        (None, 0),
    ],
)
def test_each_error_has_its_code(error: Exception | None, code: int) -> None:
    def work() -> None:
        if error is not None:
            raise error

    assert ended(work, logging.getLogger(__name__)) == code
