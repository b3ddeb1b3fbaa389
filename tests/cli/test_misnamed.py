"""A mistyped name in `on_error` would stop nothing, and nobody would see it."""

from __future__ import annotations

from pathlib import Path

from connector.cli.status import lines
from connector.deploy.misnamed import deployed_names, warnings
from connector.deploy.status import status
from connector.settings import Settings, load
from tests.builders import catalog, deployment, version

WHERE = "kafka: a:1\nregistry: http://a\nconnect: http://b\npostgres: postgresql://c\n"


def settings(folder: Path, *names: str) -> Settings:
    file = folder / "syncline.yaml"
    file.write_text(WHERE + "on_error:\n" + "".join(f"  {name}: stop\n" for name in names))
    return load(str(file))


def test_a_name_that_no_definition_has_is_told_with_what_may_have_been_meant(tmp_path: Path) -> None:
    known = settings(tmp_path, "by_user", "by_usr", "gone")
    assert list(warnings(known, ["by_user", "all"])) == [
        '`on_error` in syncline.yaml names "by_usr", which is no definition; did you mean "by_user"?',
        '`on_error` in syncline.yaml names "gone", which is no definition',
    ]


def test_what_is_on_its_way_is_known_and_what_is_over_is_not() -> None:
    states = ("retained", "active", "catching_up")
    known = catalog(version(1), deployments=tuple(deployment(n, [n], state=s) for n, s in enumerate(states, 1)))
    assert deployed_names(known) == {"d2", "d3"}


def test_status_warns() -> None:
    known = catalog(version(1))
    seen = status(
        endpoint="",
        now_ms=0,
        head=None,
        progress=None,
        commit=None,
        checkpoint=None,
        catalog=known,
        warnings=["beware"],
    )
    assert "warning      beware" in list(lines(seen))
