"""An error of the Kafka library that nobody foresaw is told like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector.cli import main, status

SETTINGS = (
    "kafka: 127.0.0.1:9\nregistry: http://127.0.0.1:9\nconnect: http://127.0.0.1:9\npostgres: postgresql://none\n"
)


def test_it_says_what_where_and_what_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "syncline.yaml"
    file.write_text(SETTINGS)

    def fail(_: object) -> int:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

    monkeypatch.setattr(status, "run", fail)
    assert main(["--settings", str(file), "status"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: the broker could not do what was asked: ")
    assert "\n  127.0.0.1:9\n  hint: " in told
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 1


def test_another_error_is_a_fault_of_ours_and_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(status, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["status"])
