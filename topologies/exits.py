"""How worker processes end: exit codes, each with one meaning for the supervisor, and the way from errors to them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import KafkaException

from connector.errors import Fenced, SynclineError, Unavailable

FAILED = 1  # an error: start it again
FENCED = 3  # another one has taken over (rule S1)
REWOUND = 75  # a stream: start it again at once, the merge wants earlier batches (rule M1)
AWAY = 76  # a server is out of reach: start it again, later each time


def ended(work: Callable[[], None], log: logging.Logger) -> int:
    """Do the work of a process; its exit code."""
    try:
        work()
    except Fenced as error:
        log.error("%s", error.report())
        return FENCED
    except Unavailable as error:
        log.error("%s", error.report())
        return AWAY
    except KafkaException as error:
        log.error("broker: %s", error.args[0].str())
        return AWAY
    except SynclineError as error:
        log.error("%s", error.report())
        return FAILED
    return 0
