"""The stored runs of a study, grouped for analysis; nothing is computed again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from moocore import is_nondominated

from gridproblems._names import in_words
from gridproblems._results import knee
from gridproblems.study.blobs import vector_key
from gridproblems.study.describe import LARGEST, checked_facts, checked_solution
from gridproblems.study.run import PACKAGES, FloatArray, Outcome
from gridproblems.study.store import Altered, RunKey, Store, StoredRun

FILE_NAME = "study.db"
#: Status of a reference that comes from the runs themselves.
OWN = "best of this study"
MOST_NAMED = 5


@dataclass(frozen=True)
class Entry:
    """A problem at one budget.

    Attributes:
        label: What to call it: its name, with budget or specification where that is not unique.
        title: The same, as short as tells it from the others, for headings and charts.
        name, spec: What identifies the problem.
        budget: Evaluations of a run.
        facts: See `gridproblems.study.describe.facts_of`.
        fingerprint: Of the problem's content, empty if the file has none.
    """

    label: str
    name: str
    spec: str
    budget: int
    facts: dict[str, Any]
    fingerprint: str = ""
    title: str = ""

    @property
    def objectives(self) -> list[str]:
        """What they are, in words, with units in brackets."""
        pairs = zip(self.facts["objectives"], self.facts["units"], strict=True)
        return [in_words(name, unit) for name, unit in pairs]

    @property
    def n_obj(self) -> int:
        """Number of objectives."""
        return len(self.facts["objectives"])


@dataclass(frozen=True)
class Run:
    """One stored run; problem and algorithm as labelled in `Results`."""

    problem: str
    algorithm: str
    key: RunKey
    outcome: Outcome

    @property
    def feasible(self) -> bool:
        """Whether it found a point that satisfies every constraint."""
        return self.outcome.status == "finished" and self.outcome.violation <= 0.0


@dataclass(frozen=True)
class Reference:
    """What the runs of a problem are measured against.

    Attributes:
        points: Best known objectives, shape (n_points, n_obj).
        status: "proven", "best found", ..., or "best of this study".
        method: How they were obtained, may be empty.
        ideal, span: Scale objectives to [0, 1] over the reference points.
    """

    points: FloatArray
    status: str
    method: str
    ideal: FloatArray
    span: FloatArray

    def scaled(self, F: FloatArray) -> FloatArray:
        """Objectives with the reference points in [0, 1]."""
        return np.asarray((F - self.ideal) / self.span, dtype=float)


class Results:
    """The runs in the file of a study.

    Args:
        path: The file, or a folder that holds ``study.db``.
        keys: Take only these; None takes all runs.

    Attributes:
        entries: Problems, each at one budget, that have runs.
        algorithms: Labels of algorithms; the parameters that differ are added where one name
            stands for several.
        runs: All of them, failed ones too.
        altered: What was changed since it was stored, or is damaged, and is left out.
        notes: What a reader of the figures should know, one sentence each: altered runs, runs that
            cannot be checked, versions of packages that differ between runs.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not the file of a study.
        StudyFileError: It cannot be read.
    """

    def __init__(self, path: str | Path, keys: Collection[RunKey] | None = None) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.path = self.path / FILE_NAME
        with Store(self.path, read_only=True) as store:
            found = store.runs()
            facts = store.problems()
            self.altered = store.altered
        stored = []
        checked: dict[tuple[str, str, str], dict[str, Any]] = {}
        for run in found:
            if keys is not None and run.key not in keys:
                continue
            of_problem = (run.key.problem, run.key.spec, run.key.problem_fingerprint)
            try:
                if of_problem not in checked:
                    checked[of_problem] = checked_facts(facts[of_problem])
                _check_run(run, checked[of_problem])
            except ValueError as error:
                what = f"{run.key.problem}, {run.key.algorithm}, seed {run.key.seed}"
                self.altered.append(Altered(what, str(error)))
                continue
            stored.append(run)
        order = {key: i for i, key in enumerate(keys)} if keys is not None else {}
        stored.sort(key=lambda run: order.get(run.key, 0))
        problems = _problem_labels(run.key for run in stored)
        algorithms = _algorithm_labels(run.key for run in stored)
        titles = _titles(problems)
        self.entries = [
            Entry(label, name, spec, budget, checked[name, spec, known], known, titles[label])
            for (name, spec, budget, known), label in problems.items()
        ]
        self.algorithms = list(dict.fromkeys(algorithms.values()))
        self.runs = [
            Run(problems[_kind_of(run.key)], algorithms[_maker_of(run.key)], run.key, run.outcome)
            for run in stored
        ]
        self.notes = _notes(self.altered, stored)
        self._references: dict[str, Reference] = {}

    def entry(self, label: str) -> Entry:
        """The problem of that label.

        Raises:
            ValueError: There is none.
        """
        for entry in self.entries:
            if entry.label == label:
                return entry
        labels = ", ".join(e.label for e in self.entries)
        raise ValueError(f"problem: none is called {label!r}; known: {labels}")

    def finished(self, problem: str, algorithm: str | None = None) -> list[Run]:
        """Finished runs of a problem, of one algorithm or all."""
        return [
            run
            for run in self._by_problem.get(problem, ())
            if run.outcome.status == "finished" and algorithm in (None, run.algorithm)
        ]

    @cached_property
    def _by_problem(self) -> dict[str, list[Run]]:
        grouped: dict[str, list[Run]] = {}
        for run in self.runs:
            grouped.setdefault(run.problem, []).append(run)
        return grouped

    def front(self, problem: str) -> pd.DataFrame:
        """The nondominated points of all runs, in the order of the first objective.

        Columns: the objectives by name, the variables by name, ``algorithm``, ``seed``, and ``x``,
        the variables as stored. Of equal objectives the first found stays. With one objective this
        is the best point.
        """
        entry = self.entry(problem)
        points: list[tuple[FloatArray, Any, Run]] = [
            (f, x, run)
            for run in self.finished(problem)
            if run.feasible
            for f, x in zip(run.outcome.F, run.outcome.X, strict=True)
        ]
        names = entry.facts["objectives"]
        columns = [*names, *entry.facts["variables"], "algorithm", "seed", "x"]
        if not points:
            return pd.DataFrame(columns=columns)
        F = np.array([f for f, _, _ in points])
        _, first = np.unique(F, axis=0, return_index=True)
        first = first[is_nondominated(F[first])]
        rows = []
        for i in first[np.argsort(F[first, 0], kind="stable")]:
            f, x, run = points[i]
            values = x if isinstance(x, dict) else dict(
                zip(entry.facts["variables"], x.tolist(), strict=True)
            )  # fmt: skip
            rows.append(
                {
                    **dict(zip(names, f.tolist(), strict=True)),
                    **values,
                    "algorithm": run.algorithm,
                    "seed": run.key.seed,
                    "x": x,
                }
            )
        return pd.DataFrame(rows, columns=columns)

    def chosen(self, problem: str) -> pd.DataFrame:
        """Points of `front` to look at first, with what they are as column ``choice``.

        With one objective the best; with several the knee (see `gridproblems._results.knee`) and
        the best of each objective.
        """
        entry, front = self.entry(problem), self.front(problem)
        if front.empty:
            return front.assign(choice="")
        names = entry.facts["objectives"]
        if len(names) == 1:
            return front.iloc[:1].assign(choice="best")
        F = front[names].to_numpy(dtype=float)
        picks = {"knee": knee(F)}
        picks |= {f"lowest {name}": int(F[:, i].argmin()) for i, name in enumerate(names)}
        return front.iloc[list(picks.values())].assign(choice=list(picks))

    def reference(self, problem: str) -> Reference:
        """What the runs of a problem are measured against: the best known, else the best found.

        Raises:
            ValueError: Nothing is known, and no run found anything feasible.
        """
        if problem not in self._references:
            self._references[problem] = self._make_reference(self.entry(problem))
        return self._references[problem]

    def _make_reference(self, entry: Entry) -> Reference:
        found = self.front(entry.label)[entry.facts["objectives"]].to_numpy(dtype=float)
        known = entry.facts["reference"]
        if known:
            points, status, method = np.array(known["values"]), known["status"], known["method"]
        elif len(found):
            points, status, method = found, OWN, ""
        else:
            raise ValueError(f"{entry.label}: no run found anything feasible")
        span = np.ptp(points, axis=0)
        around = np.ptp(np.vstack([points, found]), axis=0)
        span = np.where(span > 0.0, span, np.where(around > 0.0, around, 1.0))
        return Reference(points, status, method, points.min(axis=0), span)

    def has_reference(self, problem: str) -> bool:
        """Whether there is anything to measure the runs of a problem against."""
        known = self.entry(problem).facts["reference"]
        return bool(known) or any(run.feasible for run in self.finished(problem))

    def solutions(self, problem: str) -> dict[str, dict[str, Any]]:
        """Described points, by `gridproblems.study.store.vector_key`."""
        entry = self.entry(problem)
        with Store(self.path, read_only=True) as store:
            described = store.solutions(entry.name, entry.spec, entry.fingerprint)
        return {x: checked_solution(entry) for x, entry in described.items()}

    def front_with_settings(self, problem: str) -> pd.DataFrame:
        """`front` with the settings of each point in words, as column ``settings``."""
        described, front = self.solutions(problem), self.front(problem)
        texts = [described.get(vector_key(x), {}).get("text", "") for x in front["x"]]
        return front.assign(settings=texts)


def _kind_of(key: RunKey) -> tuple[str, str, int, str]:
    return key.problem, key.spec, key.budget, key.problem_fingerprint


def _maker_of(key: RunKey) -> tuple[str, str, str]:
    return key.algorithm, key.parameters, key.algorithm_fingerprint


def _problem_labels(keys: Iterable[RunKey]) -> dict[tuple[str, str, int, str], str]:
    """Shortest unique labels of problems at a budget, in the order of appearance."""
    kinds = list(dict.fromkeys(map(_kind_of, keys)))
    labels = {}
    for kind in kinds:
        name, spec, budget, fingerprint = kind
        same = [other for other in kinds if other[0] == name]
        label = name
        if len({other[1] for other in same}) > 1:
            label += f" ({spec})"
        if len({other[2] for other in same}) > 1:
            label += f", {budget} evaluations"
        if len({other[3] for other in same if other[:3] == kind[:3]}) > 1:
            label += f", {_short(fingerprint)}"
        labels[kind] = label
    return labels


def _titles(labels: Mapping[tuple[str, str, int, str], str]) -> dict[str, str]:
    """Short titles of labels: a problem called by its specification goes without its options.

    Where two would be alike, options come back as values in brackets, then all of the label.
    """
    made: dict[str, list[str]] = {}
    for (name, spec, _, _), label in labels.items():
        made[label] = [label]
        task, _, options = spec.partition("?")
        if name == spec and label.startswith(name) and ":" in task:
            rest = label.removeprefix(name)
            values = ", ".join(option.partition("=")[2] for option in options.split("&"))
            short = task.replace(":", " ", 1)
            made[label] = [short + rest, f"{short} ({values}){rest}", label]
    titles = {}
    for label, forms in made.items():
        others = [form for other, theirs in made.items() if other != label for form in theirs]
        titles[label] = next((form for form in forms if form not in others), label)
    return titles


def _algorithm_labels(keys: Iterable[RunKey]) -> dict[tuple[str, str, str], str]:
    """Names of algorithms, with what differs where one name stands for several on one problem.

    An algorithm whose defaults depend on the problem is one algorithm.
    """
    kinds: dict[tuple[str, str, str], set[tuple[Any, ...]]] = {}
    for key in keys:
        kinds.setdefault(_maker_of(key), set()).add(_kind_of(key))
    labels = {}
    for kind, problems in kinds.items():
        name, parameters, fingerprint = kind
        rivals = [
            other
            for other, where in kinds.items()
            if other[0] == name and other != kind and where & problems
        ]
        own = json.loads(parameters)
        others = [json.loads(other[1]) for other in rivals if other[1] != parameters]
        differing = [k for k in own if any(other.get(k) != own[k] for other in others)]
        words = [f"{k} {own[k]}" for k in differing]
        if any(other[1] == parameters for other in rivals):
            words.append(_short(fingerprint))
        labels[kind] = f"{name} ({', '.join(words)})" if words else name
    return labels


def _short(fingerprint: str) -> str:
    return f"definition {fingerprint[:8]}" if fingerprint else "definition not known"


def _check_run(run: StoredRun, facts: dict[str, Any]) -> None:
    """Whether the parts of a finished run agree with each other and with its problem.

    Raises:
        ValueError: They do not: somebody made them up.
    """
    o, n_obj = run.outcome, len(facts["objectives"])
    if o.status != "finished":
        return
    if len(o.X) != len(o.F) or len(o.G) not in (0, len(o.F)):
        raise ValueError("its points, variables and constraints differ in number")
    if not len(o.F):
        return
    if o.F.shape[1:] != (n_obj,) or o.curve.shape[1:] != (3 + n_obj,):
        raise ValueError(f"expected {n_obj} objectives")
    if isinstance(o.X, np.ndarray) and o.X.shape[1:] != (facts["n_var"],):
        raise ValueError(f"expected {facts['n_var']} variables")
    if not ((np.abs(o.F) <= LARGEST).all() and (np.abs(o.curve) <= LARGEST).all()):
        raise ValueError("its objectives are not finite, or beyond what any grid has")
    if len(o.curve) and (np.diff(o.curve[:, :2], axis=0) < 0).any():
        raise ValueError("its improvements go back in time")
    if len(o.curve) and o.curve[-1, 0] > max(o.evaluations, 1):
        raise ValueError("it improved after its last evaluation")
    improvements = {row.tobytes() for row in np.ascontiguousarray(o.curve[:, 3:])}
    if not all(row.tobytes() in improvements for row in np.ascontiguousarray(o.F)):
        raise ValueError("its final points are not among its improvements")


def _notes(altered: Sequence[Altered], stored: Sequence[StoredRun]) -> tuple[str, ...]:
    notes = []
    if altered:
        named = "; ".join(map(str, altered[:MOST_NAMED]))
        more = f"; and {len(altered) - MOST_NAMED} more" if len(altered) > MOST_NAMED else ""
        notes.append(f"Left out, altered or damaged since it was stored: {named}{more}.")
    unknown = sum(not run.key.problem_fingerprint for run in stored)
    if unknown:
        notes.append(
            f"{unknown} of {len(stored)} runs are from a file of version 0.1: what exactly their "
            "problems and algorithms were is not known, and they have no checksum."
        )
    mixed = [
        f"{package} {' and '.join(f'{v} ({n} runs)' for v, n in sorted(counts.items()))}"
        for package, counts in mixed_versions([run.outcome for run in stored]).items()
    ]
    if mixed:
        notes.append(f"Runs of different versions are mixed: {'; '.join(mixed)}.")
    return tuple(notes)


def mixed_versions(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """Packages whose version is not the same in all runs: how many runs each version has."""
    versions: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        for package in (*PACKAGES, "python"):
            version = str(outcome.machine.get(package, "not there"))
            counts = versions.setdefault(package, {})
            counts[version] = counts.get(version, 0) + 1
    return {package: counts for package, counts in versions.items() if len(counts) > 1}
