"""Writes the runs of a study for other programs: CSV tables, or the format of IOHprofiler."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridproblems._written import write_csv, write_text
from gridproblems.study.analyse import run_table, table
from gridproblems.study.results import Entry, Results, Run

IOH_VERSION = "0.3.22"


def export_csv(results: Results, folder: Path) -> list[Path]:
    """``runs.csv``, ``table.csv``, ``curves.csv``, and a ``front-N-....csv`` for each problem.

    A front holds the best points of all runs with their variables and their settings in words.
    Cells that a spreadsheet would take for formulas get a quote in front (`written.harmless`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves = []
    for run in results.runs:
        names = results.entry(run.problem).facts["objectives"]
        columns = ["evaluations", "time_s", "violation", *names]
        if len(run.outcome.curve):
            frame = pd.DataFrame(run.outcome.curve, columns=columns)
            frame.insert(0, "seed", run.key.seed)
            frame.insert(0, "algorithm", run.algorithm)
            frame.insert(0, "problem", run.problem)
            curves.append(frame)
    frames = {"runs": run_table(results), "table": table(results)}
    frames["curves"] = pd.concat(curves) if curves else pd.DataFrame()
    for number, entry in enumerate(results.entries, start=1):
        front = results.front_with_settings(entry.label).drop(columns="x")
        frames[f"front-{number}-{_file_name(entry.label)}"] = front
    paths = []
    for name, frame in frames.items():
        paths.append(folder / f"{name}.csv")
        write_csv(paths[-1], frame)
    return paths


def export_ioh(results: Results, folder: Path) -> list[Path]:
    """A folder per algorithm as IOHexperimenter writes it, for IOHanalyzer and IOHinspector.

    Problems are functions 1, 2, ... in their order, seeds are instances. Improvements of the best
    feasible objective are written, so problems with several objectives and runs without a
    feasible point are left out.

    Raises:
        ValueError: No problem has a single objective.

    Source:
        J. de Nobel et al., IOHexperimenter: benchmarking platform for iterative optimization
        heuristics, Evolutionary Computation 32 (2024), doi:10.1162/evco_a_00342.
    """
    single = [(i, e) for i, e in enumerate(results.entries, start=1) if e.n_obj == 1]
    if not single:
        raise ValueError("ioh: expected a problem with one objective; use --format csv")
    paths = []
    for algorithm in results.algorithms:
        home = folder / _file_name(algorithm)
        for number, entry in single:
            runs = [run for run in results.finished(entry.label, algorithm) if run.feasible]
            if not runs:
                continue
            name = _file_name(entry.label)
            inner = home / f"data_f{number}_{name}"
            inner.mkdir(parents=True, exist_ok=True)
            data = inner / f"IOHprofiler_f{number}_DIM{entry.facts['n_var']}.dat"
            write_text(data, "".join(_dat(run) for run in runs))
            meta = home / f"IOHprofiler_f{number}_{name}.json"
            text = json.dumps(_meta(number, name, entry, algorithm, runs, data, home), indent=1)
            write_text(meta, text + "\n")
            paths += [meta, data]
    return paths


def _meta(
    number: int, name: str, entry: Entry, algorithm: str, runs: list[Run], data: Path, home: Path
) -> dict[str, Any]:
    described = []
    for run in runs:
        x = run.outcome.X[0]
        best: dict[str, Any] = {
            "evals": int(_improvements(run)[-1, 0]),
            "y": float(run.outcome.F[0, 0]),
        }
        if not isinstance(x, dict):
            best["x"] = [float(value) for value in x]
        described.append({"instance": run.key.seed, "evals": run.outcome.evaluations, "best": best})
    return {
        "version": IOH_VERSION,
        "suite": "gridproblems",
        "function_id": number,
        "function_name": name,
        "maximization": False,
        "algorithm": {"name": algorithm, "info": ", ".join({run.key.parameters for run in runs})},
        "attributes": ["evaluations", "raw_y"],
        "scenarios": [
            {
                "dimension": entry.facts["n_var"],
                "path": data.relative_to(home).as_posix(),
                "runs": described,
            }
        ],
    }


def _dat(run: Run) -> str:
    """Header, improvements, and the end of the run."""
    rows = _improvements(run)
    lines = [f"{int(row[0])} {row[3]:.10f}" for row in rows]
    if int(rows[-1, 0]) < run.outcome.evaluations:
        lines.append(f"{run.outcome.evaluations} {rows[-1, 3]:.10f}")
    return "\n".join(["evaluations raw_y", *lines]) + "\n"


def _improvements(run: Run) -> np.ndarray:
    return run.outcome.curve[run.outcome.curve[:, 2] <= 0.0]


def _file_name(label: str) -> str:
    """A name of one file within its folder; ``..`` is none."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label)[:100].strip("-.") or "unnamed"
