"""What the gallery of examples takes as pictures, and its order; see ``conf.py``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

#: Of all folders.
ORDER = (
    "solve_a_case.py",
    "your_own_net.py",
    "reconfigure_a_feeder.py",
    "regulators.py",
    "place_units.py",
    "allocate_generation.py",
    "two_objectives.py",
    "parts.py",
    "your_own_objective.py",
    "your_own_parts.py",
    "study.py",
    "own_grid.py",
    "n_1_and_scenarios.py",
    "pareto_study.py",
    "own_algorithm.py",
    "opendss_regulators.py",
    "gradients.py",
    "published_tables.py",
    "large_grid.py",
    "warm_start.py",
    "checkpoint.py",
    "front_as_table.py",
    "pymoo_plots.py",
    "with_scipy.py",
    "with_optuna.py",
    "with_nevergrad.py",
    "dask_cluster.py",
)


def place(name: str) -> int:
    """Where a script stands among those of its folder; one that is not in the list comes last."""
    return ORDER.index(name) if name in ORDER else len(ORDER)


def pictures(block: Any, script: dict[str, Any], gallery: dict[str, Any]) -> str:
    """The figure that a block ends with, and the PNG files that it wrote."""
    made: list[str] = []
    figure = script["example_globals"].get("___")  # the value of a last expression, or an older one
    if isinstance(figure, Figure) and figure is not script.get("shown"):
        script["shown"] = figure
        made.append(next(script["image_path_iterator"]))
        figure.savefig(made[-1], dpi=120)
    for path in sorted(Path.cwd().glob("*.png")):
        made.append(next(script["image_path_iterator"]))
        shutil.move(path, made[-1])
    return figure_rst(made, gallery["src_dir"]) if made else ""
