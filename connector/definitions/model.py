"""What a sync config is once it has been checked: definitions, their parts, what was found on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import apsw

from connector.errors import BadConfig, Span

PLAN_VERSION = 2
# Rule T3: a change of what evaluation gives puts a higher level in front and branches on `Options.level`, keeping the
# level before it.
EVALUATOR_LEVELS = (1,)

Precision = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]


@dataclass(frozen=True, slots=True)
class Options:
    """The `config:` options that change results, resolved from the edition and what is written, and the evaluator's
    level. Whatever changes results is asked of them.

    The edition itself and `versioned_bucket_ids` are not among them: bucket ids here always carry a version.
    """

    timestamps_iso8601: bool = False
    fixed_json_extract: bool = False
    custom_postgres_types: bool = False
    timestamp_max_precision: Precision | None = None
    engine: Literal["js", "sqlite"] = "js"
    level: int = field(default_factory=lambda: EVALUATOR_LEVELS[0])

    def plan(self) -> dict[str, Any]:
        """The options as a plan carries them: without the level, which the evaluation's name says."""
        return {name: value for name, value in asdict(self).items() if name != "level"}

    @classmethod
    def of_plan(cls, plan: Mapping[str, Any]) -> Options:
        """The options that a plan was made with, at the newest level."""
        return cls(**plan["options"])

    @classmethod
    def named(cls, plan: Mapping[str, Any], evaluation: str) -> Options | None:
        """The options of a plan at the level of which this is the evaluation's name; None where this release has
        none such: the level is another release's, or the SQLite is."""
        levels = (level for level in EVALUATOR_LEVELS if _evaluation(plan["options"], level) == evaluation)
        return next((cls(**plan["options"], level=level) for level in levels), None)

    def evaluation(self) -> str:
        """Rule T3: names the options, the evaluator's level and the SQLite that computes, if one does.

        Equal results only between equal names.
        """
        return _evaluation(self.plan(), self.level)


def _evaluation(options: Mapping[str, Any], level: int) -> str:
    engine = {"sqlite": apsw.sqlite_lib_version()} if options.get("engine") == "sqlite" else {}
    text = json.dumps({**options, **engine, "level": level}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Part:
    """What is kept or replayed as a unit: a bucket source, or a parameter index.

    `canonical` is what a deploy compares (`canonical_text`); `label` is unique in the whole config, and a part that
    definitions share is one object under the name of the first; `tables` are patterns (`patterns.py`).
    """

    kind: Literal["bucket", "index"]
    definition: str
    label: str
    plan: dict[str, Any] = field(hash=False)
    canonical: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """One named entry of the sync config. `queriers`: how a request gets its buckets (`request.py`).

    Bucket definitions are subscribed by everybody; a stream by whoever asks, and with `auto_subscribe` by default.
    """

    name: str
    kind: Literal["buckets", "stream"]
    priority: int
    auto_subscribe: bool
    parts: tuple[Part, ...]
    queriers: tuple[dict[str, Any], ...] = field(hash=False)


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """A deployable sync config. `evaluation` is `Options.evaluation()`."""

    options: Options
    definitions: tuple[Definition, ...]
    evaluation: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a client says, as JSON objects: its token, its parameters, and those of the subscription in question.

    `subscription` is empty where the stream is subscribed by default: all its parameters are NULL.
    """

    token: Mapping[str, Any]
    parameters: Mapping[str, Any]
    subscription: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding; a fatal one keeps the config from being deployed, a warning never does."""

    severity: Literal["fatal", "warning"]
    message: str
    span: Span
    hint: str | None = None

    def report(self) -> str:
        """The lines a person reads: message, place with what stands there, hint."""
        headline = self.message.partition("\n")[0].rstrip(":")  # what follows shows the place as we do
        lines = [f"{'error' if self.severity == 'fatal' else 'warning'}: {headline}"]
        source = self.span.source_line.lstrip()
        lead = f"  {self.span}   "
        lines.append(f"{lead}{source}".rstrip())
        if source:
            cut = len(self.span.source_line) - len(source)
            one_line = self.span.end_line == self.span.line
            width = self.span.end_column - self.span.column if one_line else len(source) + cut + 1 - self.span.column
            lines.append(" " * (len(lead) + self.span.column - 1 - cut) + "^" * max(1, width))
        if self.hint is not None:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything that was found, in the order of the text, and the config where nothing fatal was.

    `notices` are warnings of Syncline's own, about what it does otherwise than PowerSync.
    """

    diagnostics: tuple[Diagnostic, ...]
    config: SyncConfig | None
    notices: tuple[Diagnostic, ...] = ()


def canonical_text(plan: Mapping[str, Any]) -> str:
    """The plan without its options, as text: equal text and equal evaluation name give equal results for every row.

    It is the whole of what `compile_part` reads, which is why nothing that matters can be missing from it.
    """
    return json.dumps({key: plan[key] for key in plan if key != "options"}, sort_keys=True, separators=(",", ":"))


def check_version(plan: Mapping[str, Any], what: str) -> None:
    """Raises BadConfig for a plan or querier of another version than this release reads."""
    if plan.get("plan_version") != PLAN_VERSION:
        raise BadConfig(
            f"plan version {plan.get('plan_version')!r} of {what} cannot be used, this release knows {PLAN_VERSION}",
            hint="run the release that deployed it, or deploy the definitions again",
        )
