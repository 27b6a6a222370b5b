"""What is left of studies, in words, beside their file: for ``gridproblems resume``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

_FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """A study whose problems and algorithms are texts.

    Attributes:
        problems, algorithms: Specifications by name.
        seeds: All seeds.
        n_evals: Evaluations of a run by name of the problem.
        timeout_s: Longest time of a run, None for any. [s]
        checkpoint_every: See `Study.run`.
        folder: Where the words were said; paths in them start there.
    """

    problems: dict[str, str]
    algorithms: dict[str, str]
    seeds: list[int]
    n_evals: dict[str, int]
    timeout_s: float | None
    checkpoint_every: int | None
    folder: str


def plan_of(
    problems: Mapping[str, Any],
    algorithms: Mapping[str, Any],
    seeds: list[int],
    n_evals: Mapping[str, int],
    timeout_s: float | None,
    checkpoint_every: int | None,
) -> Plan | None:
    """The plan of a study; None where something is an object of Python."""
    if not all(isinstance(spec, str) for spec in (*problems.values(), *algorithms.values())):
        return None
    return Plan(
        dict(problems), dict(algorithms), [int(seed) for seed in seeds],
        {name: int(n) for name, n in n_evals.items()},
        None if timeout_s is None else float(timeout_s), checkpoint_every, os.getcwd(),
    )  # fmt: skip


def plans_path(study: Path) -> Path:
    """Where the plans of the file of a study are kept."""
    return study.with_suffix(".json")


def plans_in(path: Path) -> list[Plan]:
    """The plans in a file, none where there is no such file.

    Raises:
        ValueError: It is no such file, or of a newer version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    is_known = isinstance(found, dict) and found.get("format") == _FORMAT
    if not is_known or not isinstance(found.get("plans"), list):
        raise ValueError(f"{path}: expected studies that this version left unfinished")
    return [_checked(plan, path) for plan in found["plans"]]


def _checked(plan: Any, path: Path) -> Plan:
    names = [field.name for field in fields(Plan)]
    if not isinstance(plan, dict) or sorted(plan) != sorted(names):
        raise ValueError(f"{path}: expected {', '.join(names)} of every study")
    made = Plan(**plan)
    texts = (made.problems, made.algorithms)
    limits = (made.timeout_s, made.checkpoint_every)
    if not (
        all(isinstance(t, dict) and all(isinstance(v, str) for v in t.values()) for t in texts)
        and isinstance(made.seeds, list)
        and all(type(seed) is int for seed in made.seeds)
        and isinstance(made.n_evals, dict)
        and all(type(n) is int for n in made.n_evals.values())
        and all(limit is None or type(limit) in (int, float) for limit in limits)
        and isinstance(made.folder, str)
    ):
        raise ValueError(f"{path}: a study in it has values of the wrong kind")
    return made


def keep_plan(path: Path, plan: Plan) -> None:
    """Adds a plan to a file, if it is not there."""
    plans = plans_in(path)
    if plan not in plans:
        _write(path, [*plans, plan])


def drop_plan(path: Path, plan: Plan) -> None:
    """Takes a plan out of a file, which goes with its last."""
    plans = plans_in(path)
    left = [other for other in plans if other != plan]
    if left:
        _write(path, left)
    elif plans:
        path.unlink(missing_ok=True)


def _write(path: Path, plans: list[Plan]) -> None:
    from gridproblems._written import write_text

    text = json.dumps({"format": _FORMAT, "plans": [asdict(plan) for plan in plans]}, indent=2)
    write_text(path, text + "\n")
