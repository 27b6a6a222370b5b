"""The stored table of values: what every documented call answers for seeded vectors.

``python tests/golden/table.py`` writes it anew, all of it or the calls that are named. That is
for a change of values that is meant, and the difference of `values/names.json` and the message of
the commit say which; `tests/test_golden.py` compares.

Vectors are uniform within the bounds, moved onto the grid of allowed vectors by the problem
itself, with the present grid (`base_x`) as the last. Every call has ``NAME.npz`` with arrays, and
its names, units and description in ``names.json``. A large array is stored as its digest, its
first rows, and the sum, largest entry and sum of positive entries of every row.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from golden.calls import CALLS, make

from gridproblems import GridProblem

VALUES = Path(__file__).parent / "values"
N_VECTORS = 50
MAX_BYTES = 30_000  # of an array that is stored whole
FIRST_ROWS = 3
PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "pandas", "pandapower", "pymoo")
PACKAGES += ("lightsim2grid", "opendssdirect.py", "dss-python")

Arrays = dict[str, NDArray[Any]]


def platform() -> dict[str, Any]:
    """What decides the last bits of a number: the processor's features and the packages."""
    from numba.core.registry import cpu_target

    features = cpu_target.target_context.codegen().magic_tuple()
    return {
        "processor": [str(part) for part in features],
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        **{package: version(package) for package in PACKAGES},
    }


def vectors(problem: GridProblem, name: str) -> NDArray[np.float64]:
    """Seeded vectors within the bounds, the last is that of the present grid."""
    rng = np.random.default_rng(list(name.encode()))
    drawn = problem.xl + rng.random((N_VECTORS, problem.n_var)) * (problem.xu - problem.xl)
    return np.vstack([problem.snap(drawn), problem.base_x])


def answers(name: str) -> tuple[Arrays, dict[str, Any]]:
    """What a call answers: its arrays, and all that is text."""
    problem = make(name)
    x = vectors(problem, name)
    evaluated = problem.evaluate_many(x)
    best = problem.best_known
    described = problem.describe(x[0])
    arrays = {
        "X": np.array([answer["X"] for answer in evaluated]),
        "F": np.array([answer["F"] for answer in evaluated]),
        "G": np.array([answer["G"] for answer in evaluated]),
        "bounds": np.array([problem.xl, problem.xu], dtype=float),
        "base_values": np.asarray(problem.base_values(), dtype=float),
        "best_known": np.array([] if best is None else [best.value], dtype=float),
    }
    texts = {
        "call": CALLS[name],
        "name": problem.name,
        "engine": problem.engine_name,
        "variables": list(problem.vars),
        "kinds": [type(variable).__name__ for variable in problem.vars.values()],
        "objectives": list(problem.objective_names),
        "units": list(problem.objective_units),
        "constraints": list(problem.constraint_names),
        "columns": list(described.columns),
        "described": json.loads(described.to_json(orient="values", double_precision=10)),
    }
    return arrays, texts


def stored_form(arrays: Arrays) -> Arrays:
    """Arrays as they are stored: small ones whole, of large ones digest and summary."""
    stored: Arrays = {}
    for name, array in arrays.items():
        if array.nbytes <= MAX_BYTES:
            stored[name] = array
            continue
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        stored[f"{name} digest"] = np.array(digest)
        stored[f"{name} first rows"] = array[:FIRST_ROWS]
        stored[f"{name} sums"] = np.stack(
            [array.sum(axis=1), array.max(axis=1), np.maximum(array, 0).sum(axis=1)]
        )
    return stored


def shortened(texts: dict[str, Any]) -> dict[str, Any]:
    """Texts as they are stored: long lists as their length, first entries and digest."""

    def short(value: Any) -> Any:
        if not isinstance(value, list) or len(value) <= 40:
            return value
        digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()
        return {"length": len(value), "first": value[:3], "sha256": digest}

    return {key: short(value) for key, value in texts.items()}


def stored_names() -> dict[str, Any]:
    """`names.json`: the platform, and the texts of every call."""
    names: dict[str, Any] = json.loads((VALUES / "names.json").read_text())
    return names


def stored_arrays(name: str) -> Arrays:
    """The arrays of a call in their stored form."""
    with np.load(VALUES / f"{name}.npz") as file:
        return dict(file)


def write(names: list[str]) -> None:
    """Writes the values of calls; the others stay, those that are no more are removed.

    Raises:
        ValueError: Not all calls are named, and the others are from another platform.
    """
    VALUES.mkdir(exist_ok=True)
    path = VALUES / "names.json"
    old = json.loads(path.read_text()) if path.exists() else {"calls": {}}
    if set(names) < set(CALLS) and old.get("platform") != platform():
        raise ValueError("the table is from another platform; write it without names, all of it")
    calls = {name: texts for name, texts in old["calls"].items() if name in CALLS}
    for name in names:
        arrays, texts = answers(name)
        np.savez_compressed(VALUES / f"{name}.npz", **stored_form(arrays))
        calls[name] = shortened(texts)
        print(name, flush=True)
    ordered = {name: calls[name] for name in CALLS if name in calls}
    path.write_text(
        json.dumps({"platform": platform(), "calls": ordered}, indent=1, ensure_ascii=False) + "\n"
    )
    for file in VALUES.glob("*.npz"):
        if file.stem not in CALLS:
            file.unlink()


if __name__ == "__main__":
    write(sys.argv[1:] or list(CALLS))
