"""A plan as a file: `syncline plan --out` writes it, `syncline deploy` carries out that plan or refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass

from connector.deploy.plan import Plan, pending_moved, planned
from connector.errors import BadConfig, RequestRefused

FORMAT = 2
MARK = "syncline_plan"  # its value is the format
AGAIN = "plan again, look at it, and deploy the new file"


@dataclass(frozen=True, slots=True)
class Expected:
    """A plan made earlier: the generation it was planned against, the one that was pending then (0: none), and its
    changes as a request carries them."""

    base: int
    pending: int
    planned: str


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What a plan file holds."""

    path: str
    config: str
    expected: Expected


def written(plan: Plan, path: str, config: str) -> str:
    """The text of the plan's file."""
    content = {
        MARK: FORMAT,
        "path": path,
        "config": config,
        "base": plan.base,
        "pending": plan.pending,
        "planned": json.loads(planned(plan.changes)),
        "plan": plan.as_json(),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read(text: str, where: str) -> PlanFile | None:
    """The plan in a file's text; None where it is none. Raises BadConfig where it cannot be used."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict) or MARK not in content:
        return None
    if content[MARK] != FORMAT:
        raise BadConfig(
            f"the plan has format {content[MARK]}, this release reads {FORMAT}",
            where=where,
            hint="plan again with this release",
        )
    try:
        expected = Expected(int(content["base"]), int(content["pending"]), json.dumps(content["planned"]))
        return PlanFile(str(content["path"]), str(content["config"]), expected)
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(f"the plan is damaged: {error!r}", where=where, hint="plan again") from error


def check_still(plan: Plan, expected: Expected) -> None:
    """Raises RequestRefused where the plan made now is not the one made then."""
    if plan.base != expected.base:
        raise RequestRefused(
            f"it was planned against generation {expected.base}, active is {plan.base} now", hint=AGAIN
        )
    if plan.pending != expected.pending:
        raise RequestRefused(f"it was {pending_moved(expected.pending, plan.pending)}", hint=AGAIN)
    then, now = json.loads(expected.planned), json.loads(planned(plan.changes))
    if then != now:
        differing = sorted({f"{one[1]} ({one[2]})" for one in (*then, *now) if one not in then or one not in now})
        raise RequestRefused(f"the plan would be another now: {', '.join(differing)}", hint=AGAIN)
