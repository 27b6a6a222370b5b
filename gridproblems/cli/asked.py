"""What a run was asked for, kept beside its results until it has finished: ``run.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gridproblems._own import own_part
from gridproblems.words import limits_of, listed, value_of, with_series

RUN = "run.json"
EVALUATIONS = "evaluations.bin"
_FORMAT = 1


@dataclass(frozen=True)
class Asked:
    """A run in the words of the command line.

    Attributes:
        task, case, algorithm, evals, seed, objectives, controls, situations, series, engine, limit,
            option, constraints, problem, jobs, population, checkpoint_every: As of ``gridproblems
            solve``.
        folder: Where the words were said; paths in them start there.
    """

    task: str
    case: str
    algorithm: str
    evals: int
    seed: int
    objectives: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    situations: str | None = None
    series: tuple[str, ...] = ()
    engine: str = "auto"
    constraints: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    option: tuple[str, ...] = ()
    jobs: int = 1
    population: int | None = None
    checkpoint_every: int | None = None
    problem: str | None = None
    folder: str = ""

    def words(self) -> tuple[str, ...]:
        """What may name parts of files of the user's own."""
        return (self.algorithm, self.problem or "", *self.objectives, *self.constraints)

    def name(self) -> str:
        """What a folder of the run may be called."""
        algorithm = own_part(self.algorithm.partition("?")[0])
        called = algorithm.name if algorithm else self.algorithm
        if self.problem is not None:
            problem = own_part(self.problem.partition("?")[0])
            whole = f"{problem.name if problem else self.problem}-{called}-seed{self.seed}"
        else:
            case = Path(self.case).stem if Path(self.case).is_file() else self.case
            whole = f"{self.task}-{case}-{called}-seed{self.seed}"
        return re.sub(r"[^\w.+-]+", "-", whole)

    def given(self) -> dict[str, Any]:
        """Arguments of the problem that have an option of their own, those that were given.

        Raises:
            ValueError: A limit or series that is none.
        """
        options = {
            "objectives": tuple(listed(self.objectives)) or None,
            "controls": tuple(listed(self.controls)) or None,
            "situations": with_series(self.situations, self.series),
            "engine": None if self.engine == "auto" else self.engine,
            "constraints": tuple(listed(self.constraints)) or None,
            "limits": limits_of(self.limit, "--limit ") or None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def further(self) -> dict[str, Any]:
        """Arguments of the problem that came as ``--option name=value``.

        Raises:
            ValueError: A pair without a name and an equals sign, or one given twice.
        """
        options: dict[str, Any] = {}
        for pair in self.option:
            name, equals, text = pair.partition("=")
            if not (name and equals):
                raise ValueError(f"--option {pair}: expected name=value")
            if name in options:
                raise ValueError(f"--option {pair}: {name} is given twice")
            options[name] = value_of(text)
        return options

    def told(self) -> dict[str, Any]:
        """What a checkpoint has to agree with."""
        return {name: getattr(self, name) for name in ("algorithm", "population", "evals", "seed")}

    def write(self, folder: Path) -> None:
        """Keeps it in the folder of the run."""
        from gridproblems._written import write_text

        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=2)
        write_text(folder / RUN, text + "\n")


def asked_in(folder: Path) -> Asked:
    """What the run in a folder was asked for.

    Raises:
        FileNotFoundError: There is no unfinished run.
        ValueError: The file is none of this program, or of a newer version.
    """
    path = folder / RUN
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, Mapping) or found.get("format") != _FORMAT:
        raise ValueError(f"{path}: expected what a run of this version was asked for")
    known = {field.name: str(field.type) for field in fields(Asked)}
    wrong = [name for name in known if not _fits(found.get(name), known[name])]
    wrong += sorted(map(str, set(found) - set(known) - {"format"}))
    if wrong:
        raise ValueError(f"{path}: expected {', '.join(known)}; wrong: {', '.join(wrong)}")
    values: dict[str, Any] = {
        name: tuple(found[name]) if isinstance(found[name], list) else found[name] for name in known
    }
    return Asked(**values)


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value of JSON is of the type of an attribute."""
    if annotation == "tuple[str, ...]":
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if value is None:
        return "None" in annotation
    return type(value) is (int if annotation.startswith("int") else str)
