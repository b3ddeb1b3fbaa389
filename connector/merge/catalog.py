"""The catalog as values: deployments, versions, tributaries, and the steps from one catalog to the next.

Every step is a pure function; the merge numbers and writes the result (one record per commit that changed it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

MAIN = "main"
KEPT_ENDED = 10  # deploys that are over and still listed, of those that were active and of those that never were
KEPT_OTHERS = 3  # the same of verifies, resumes and repairs, of each: nobody goes back to one

DeploymentState = Literal["replaying", "catching_up", "aligned", "active", "retained", "dropped", "failed", "cancelled"]
VersionState = Literal["pending", "exposed", "retained", "throwaway"]
TributaryState = Literal["queued", "replaying", "catching_up", "aligned", "landing", "taking_over"]


@dataclass(frozen=True, slots=True)
class DeployedPart:
    kind: str
    label: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeployedDefinition:
    name: str
    priority: int
    queriers: str  # JSON
    parts: tuple[DeployedPart, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of an aligned verify: two op logs, each to be folded up to an offset."""

    version: int
    offset: int
    original: int
    original_offset: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """One generation of the sync config."""

    generation: int
    kind: str  # deploy or verify
    state: DeploymentState
    config: str
    path: str
    evaluation: str
    requested_at: int
    switched_at: int
    position: int
    commit: int
    reason: str
    comparisons: tuple[Comparison, ...]
    definitions: tuple[DeployedDefinition, ...]
    planned: str = ""  # JSON
    estimate: str = ""  # JSON
    replayed_rows: int = 0
    replay_ms: int = 0
    ended_at: int = 0

    def versions(self) -> frozenset[int]:
        return frozenset(part.version for definition in self.definitions for part in definition.parts)

    @property
    def pending(self) -> bool:
        """On its way to a switch or an alignment."""
        return self.state in ("replaying", "catching_up")

    @property
    def over(self) -> bool:
        """Nothing of it is kept but what `syncline history` tells."""
        return self.state in ("dropped", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Version:
    """One part as first deployed."""

    version: int
    kind: str
    definition: str
    label: str
    canonical: str
    plan: str  # JSON
    evaluation: str
    tables: tuple[str, ...]
    state: VersionState
    stream: str
    dropped_at: int
    stopped_at: int = 0
    stopped_position: int = 0
    stopped_because: str = ""


@dataclass(frozen=True, slots=True)
class ReplayEnd:
    table: str
    partition: int
    end: int


@dataclass(frozen=True, slots=True)
class Overlay:
    """A version evaluated anew, and the one whose buckets its outputs are compared with (rule D6)."""

    shadow: int
    version: int


@dataclass(frozen=True, slots=True)
class Tributary:
    """A stream for the new versions of one pending deployment (rules T5, D2)."""

    name: str
    generation: int
    versions: tuple[int, ...]
    state: TributaryState
    start: int
    start_offset: int
    ends: tuple[ReplayEnd, ...]
    bounded: bool
    head: int | None
    max_rate: int = 0  # rows/s; 0: no limit
    overlays: tuple[Overlay, ...] = ()
    started_at: int = 0
    bounded_at: int = 0
    replayed_at: int = 0
    lag_ms: int = 0

    @property
    def pending(self) -> bool:
        return self.state in ("replaying", "catching_up")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The whole catalog; `number` and `written_at` are set by whoever writes it."""

    number: int = 0
    written_at: int = 0
    next_generation: int = 1
    next_version: int = 1
    deployments: tuple[Deployment, ...] = ()
    versions: tuple[Version, ...] = ()
    tributaries: tuple[Tributary, ...] = ()
    rewinds: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Catalog:
        """The catalog that a Catalog record holds."""
        return cls(
            number=record["number"],
            written_at=record["written_at"],
            next_generation=record["next_generation"],
            next_version=record["next_version"],
            deployments=tuple(_deployment(d) for d in record["deployments"]),
            versions=tuple(Version(**{**v, "tables": tuple(v["tables"])}) for v in record["versions"]),
            tributaries=tuple(_tributary(t) for t in record["tributaries"]),
            rewinds={r["stream"]: r["count"] for r in record["rewinds"]},
        )

    def to_record(self) -> dict[str, Any]:
        """The catalog as a Catalog record."""
        rewinds = [{"stream": stream, "count": count} for stream, count in self.rewinds.items()]
        return asdict(self) | {"rewinds": rewinds}

    @property
    def active(self) -> Deployment | None:
        return next((d for d in self.deployments if d.state == "active"), None)

    @property
    def generation(self) -> int:
        """Of the active deployment; 0 before the first."""
        return self.active.generation if self.active is not None else 0

    def deployment(self, generation: int) -> Deployment | None:
        return next((d for d in self.deployments if d.generation == generation), None)

    def tributary(self, name: str) -> Tributary | None:
        return next((t for t in self.tributaries if t.name == name), None)

    def version(self, number: int) -> Version | None:
        return next((v for v in self.versions if v.version == number), None)

    def exposed(self) -> tuple[Version, ...]:
        return tuple(v for v in self.versions if v.state == "exposed")

    def advancing(self) -> tuple[Version, ...]:
        """The exposed versions but those that are stopped: a checkpoint waits for them alone."""
        return tuple(v for v in self.versions if v.state == "exposed" and not v.stopped_at)


def tributary_name(generation: int) -> str:
    return f"t{generation}"


def shadows_of(catalog: Catalog, stream: str) -> Mapping[int, int]:
    """Shadow → version of a stream whose overlays are laid: its process still answers by the shadows' numbers."""
    tributary = catalog.tributary(stream)
    if tributary is None or tributary.state != "taking_over":
        return {}
    return {o.shadow: o.version for o in tributary.overlays}


def with_deployment(catalog: Catalog, deployment: Deployment) -> Catalog:
    """The catalog with this deployment in the place of the one of its generation."""
    return replace(
        catalog,
        deployments=tuple(deployment if d.generation == deployment.generation else d for d in catalog.deployments),
    )


def with_tributary(catalog: Catalog, tributary: Tributary) -> Catalog:
    return replace(
        catalog, tributaries=tuple(tributary if t.name == tributary.name else t for t in catalog.tributaries)
    )


def with_rewind(catalog: Catalog, stream: str) -> Catalog:
    """The stream is asked once more to rewind (rule M1)."""
    return replace(catalog, rewinds={**catalog.rewinds, stream: catalog.rewinds.get(stream, 0) + 1})


def added(
    catalog: Catalog, deployment: Deployment, versions: Iterable[Version], tributary: Tributary | None
) -> Catalog:
    """A new pending deployment with its versions; generation and version numbers count up and never come back."""
    fresh = tuple(versions)
    return replace(
        catalog,
        next_generation=deployment.generation + 1,
        next_version=max([catalog.next_version, *(v.version + 1 for v in fresh)]),
        deployments=pruned((*catalog.deployments, deployment)),
        versions=catalog.versions + fresh,
        tributaries=catalog.tributaries + ((tributary,) if tributary else ()),
    )


def bounded(catalog: Catalog, tributary: Tributary, ends: Iterable[ReplayEnd], *, now: int, lag_ms: int = 0) -> Catalog:
    """The replay's ends are captured: written once, the first wins (rule T5)."""
    known = replace(tributary, ends=tuple(ends), bounded=True, bounded_at=now, lag_ms=lag_ms)
    return with_tributary(catalog, known)


def replayed(catalog: Catalog, tributary: Tributary, rows: int, now: int) -> Catalog:
    """All of its replay is taken: the deployment knows how many rows that were, and how long they took."""
    done = with_tributary(catalog, replace(tributary, replayed_at=now))
    deployment = catalog.deployment(tributary.generation)
    if deployment is None:
        return done
    took = deployment.replay_ms + now - tributary.bounded_at
    return with_deployment(done, replace(deployment, replayed_rows=deployment.replayed_rows + rows, replay_ms=took))


def switched(
    catalog: Catalog, deployment: Deployment, *, position: int, commit: int, now: int, dropped_at: int
) -> Catalog:
    """The deployment becomes active at `position`, in the checkpoint of that commit (rule D4)."""
    wanted = deployment.versions()
    return replace(
        catalog,
        deployments=tuple(
            replace(d, state="active", position=position, commit=commit, switched_at=now)
            if d.generation == deployment.generation
            else replace(d, state="retained")
            if d.state == "active"
            else d
            for d in catalog.deployments
        ),
        versions=tuple(_exposure(v, wanted, dropped_at) for v in catalog.versions),
        tributaries=tuple(
            replace(t, state="taking_over") if t.generation == deployment.generation else t for t in catalog.tributaries
        ),
    )


def _exposure(version: Version, wanted: frozenset[int], dropped_at: int) -> Version:
    if version.version in wanted:
        return replace(version, state="exposed", dropped_at=0)
    if version.state == "exposed":
        return replace(version, state="retained", dropped_at=dropped_at)
    return version


def aligned(catalog: Catalog, deployment: Deployment, *, position: int, commit: int, now: int) -> Catalog:
    """A verify stands at the same boundary as main: nothing more is taken from its tributary."""
    done = replace(deployment, state="aligned", position=position, commit=commit, switched_at=now)
    return replace(
        with_deployment(catalog, done),
        tributaries=tuple(
            replace(t, state="aligned") if t.generation == deployment.generation else t for t in catalog.tributaries
        ),
    )


def taken_over(catalog: Catalog, versions: frozenset[int]) -> Catalog:
    """Main answers for these versions from now on; a tributary without versions of its own has ended (rule D5)."""
    moved = tuple(replace(v, stream=MAIN) if v.version in versions else v for v in catalog.versions)
    still = {v.stream for v in moved}
    return replace(
        catalog,
        versions=moved,
        tributaries=tuple(t for t in catalog.tributaries if t.state != "taking_over" or t.name in still),
        rewinds={s: n for s, n in catalog.rewinds.items() if s == MAIN or s in still},
    )


def pruned(deployments: tuple[Deployment, ...]) -> tuple[Deployment, ...]:
    """The deployments without those that have been over for long; none makes room for another kind."""
    forgotten: set[int] = set()
    kinds = Counter((d.kind, bool(d.switched_at)) for d in deployments if d.over)
    for deployment in deployments:
        kind = (deployment.kind, bool(deployment.switched_at))
        if deployment.over and kinds[kind] > (KEPT_ENDED if deployment.kind == "deploy" else KEPT_OTHERS):
            kinds[kind] -= 1
            forgotten.add(deployment.generation)
    return tuple(d for d in deployments if d.generation not in forgotten)


def _deployment(record: Mapping[str, Any]) -> Deployment:
    return Deployment(
        **{
            **record,
            "comparisons": tuple(Comparison(**c) for c in record["comparisons"]),
            "definitions": tuple(
                DeployedDefinition(**{**d, "parts": tuple(DeployedPart(**p) for p in d["parts"])})
                for d in record["definitions"]
            ),
        }
    )


def _tributary(record: Mapping[str, Any]) -> Tributary:
    return Tributary(
        **{
            **record,
            "versions": tuple(record["versions"]),
            "ends": tuple(ReplayEnd(**e) for e in record["ends"]),
            "overlays": tuple(Overlay(**o) for o in record.get("overlays", ())),
        }
    )
