"""Makes every picture in ``docs/images`` by running the command line.

python docs/make_figures.py
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from typer.testing import CliRunner

from gridproblems.cli import app

IMAGES = Path(__file__).parent / "images"
RUNS = {
    "orpd --case ieee39 --objectives line_loss_mw --algorithm mvmo --evals 5000 --seed 1": {
        "voltage.png": "ieee39-voltage.png",
        "convergence.png": "ieee39-convergence.png",
    },
    "orpd --case ieee30 --algorithm nsga2 --objectives p_loss_mw,voltage_deviation_pu": {
        "pareto.png": "ieee30-pareto.png",
    },
    "regulators --feeder ieee123 --option variables=taps --option disturbance=2.0 "
    "--algorithm hs --evals 1000 --seed 1": {
        "profile.png": "ieee123-profile.png",
    },
    "reconfiguration --case case33bw --algorithm hs --evals 500 --seed 1": {
        "feeder.png": "case33bw-feeder.png",
    },
    "allocation --case lv18 --algorithm permutation-ga --evals 5000 --seed 1": {
        "line_loading.png": "lv18-line-loading.png",
        "voltage_band.png": "lv18-voltage-band.png",
        "map.png": "lv18-map.png",
    },
    "placement --case case33bw --option n_units=3 --option kind=dg --evals 5000 --seed 1": {
        "units.png": "case33bw-units.png",
    },
}


def main() -> None:
    """Runs each command once and copies its pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as parent:
        for options, pictures in RUNS.items():
            arguments = ["solve", *options.split(), "--out", parent, "--quiet"]
            result = CliRunner().invoke(app, arguments, catch_exceptions=False)
            if result.exit_code != 0:
                raise SystemExit(result.output)
            for source, target in pictures.items():
                shutil.copyfile(Path(result.stdout.strip()) / source, IMAGES / target)
                print(f"docs/images/{target}")


if __name__ == "__main__":
    main()
