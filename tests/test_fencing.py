"""How a writer finds out that another one has taken its place (law 7)."""

from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from topologies.kafka import is_fenced

TAKEN_OVER = KafkaError(KafkaError._FENCED, "Failed to end transaction", True, False, False)
# what a broker says to a commit at the moment at which a newer writer begins
UNKNOWN = KafkaError(KafkaError.UNKNOWN, "EndTxn commit failed: Unknown broker error", False, False, True)
FATAL = KafkaError(KafkaError._FATAL, "Fatal error", True, False, False)
AWAY = KafkaError(KafkaError._TIMED_OUT, "Timed out", False, True, False)


class Writer:
    """Has a transaction open; `error` is what its end meets."""

    def __init__(self, error: KafkaError | None) -> None:
        self._error = error
        self.aborts = 0

    def abort_transaction(self, timeout: float) -> None:
        self.aborts += 1
        if self._error is not None:
            raise KafkaException(self._error)


@pytest.mark.parametrize(
    ("said", "at_its_end", "fenced"),
    [
        (UNKNOWN, TAKEN_OVER, True),
        (FATAL, TAKEN_OVER, True),
        (UNKNOWN, None, False),
        (UNKNOWN, AWAY, False),
        (FATAL, AWAY, False),
    ],
)
def test_the_end_of_the_transaction_says_what_an_unclear_error_means(
    said: KafkaError, at_its_end: KafkaError | None, fenced: bool
) -> None:
    writer = Writer(at_its_end)
    assert is_fenced(cast(Producer, writer), said) == fenced
    assert writer.aborts == 1


@pytest.mark.parametrize(("said", "fenced"), [(TAKEN_OVER, True), (AWAY, False)])
def test_a_clear_one_needs_no_more(said: KafkaError, fenced: bool) -> None:
    writer = Writer(None)
    assert is_fenced(cast(Producer, writer), said) == fenced
    assert writer.aborts == 0
