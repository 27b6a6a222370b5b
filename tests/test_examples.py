"""Every example and notebook of the documentation runs, and says what it should."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
#: Starts processes that import the script, so it is run in one of its own.
ALONE = "recipes/dask_cluster.py"

LOSS = r"\d+\.\d{4} MW"
PRINTED = {
    "allocate_generation.py": r"before 118\.73 %, after 8\d\.\d\d %",
    "parts.py": r"34 situations, losses 39\.6\d MW\nlosses \d\d\.\d kW\n[\s\S]*capacitor 2",
    "place_units.py": r"before, 7\d\.\d{3} kW with[\s\S]*exchange \d+\.\d kWh before, \d+\.\d kWh",
    "study.py": r"mvmo beats small hs with probability [\s\S]*report\.html",
    "reconfigure_a_feeder.py": r"202\.677 kW now, 139\.551 kW then\nbest known 139\.551 kW \(pro",
    "regulators.py": r"fitness \d+\.\d{3} before, 0\.\d{3} after\n! settings for feeder ieee123",
    "solve_a_case.py": r"losses 13\.\d{4} MW, best known 13\.\d{4} MW[\s\S]*voltage 1\.\d{4}",
    "two_objectives.py": r"\d+ nondominated points",
    "your_own_net.py": rf"3 controls, .* engine newton\nlosses {LOSS} before, {LOSS} after",
    "your_own_parts.py": r"spread of voltages 0\.\d{4} p\.u\., now 0\.\d{4} p\.u\.",
    "your_own_objective.py": r"\d+\.\d{3} Mvar, violation 0\n",
    "recipes/checkpoint.py": rf"killed\n60\d evaluations .* {LOSS}\nas if never stopped: True\n",
    "recipes/dask_cluster.py": r"2 workers\n[\s\S]*hs +3 13\.55[\s\S]*ga +3 13\.",
    "recipes/front_as_table.py": r"switching_actions +lines opened\n202\.677126 [\s\S]*139\.551347",
    "recipes/pymoo_plots.py": r"\d+ nondominated points of 3 objectives",
    "recipes/warm_start.py": rf"losses {LOSS}, then 4\.51\d\d MW",
    "recipes/with_nevergrad.py": r"losses 13\.\d{4} MW, broken limits: 0\n",
    "recipes/with_optuna.py": r"losses 13\.\d{4} MW, broken limits: 0\n",
    "recipes/with_scipy.py": r"losses 5\.7866 MW, then 4\.\d{4} MW\nbroken limits: 11, then 0",
    # these also check what they claim
    "notebooks/gradients.py": r"slopes \(1, 25\) and[\s\S]*sqp: 24\.5\d* MW after \d+, 0\.000",
    "notebooks/large_grid.py": r"0 failed, 0 within limits\nlosses 1663\.46 MW before, 1485\.\d\d",
    "notebooks/n_1_and_scenarios.py": r"34 of 34 survived\nfor the mean: [\s\S]*the worst tenth",
    "notebooks/opendss_regulators.py": r"fitness 15\.189 before, 5\.7[\s\S]*creg4c\.TapNum",
    "notebooks/own_algorithm.py": r"one-fifth beats ga with probability",
    "notebooks/own_grid.py": r"converges: voltages[\s\S]*broken limits: 4 before, 0 after",
    "notebooks/pareto_study.py": r"proven\n31 % of the losses saved by 8 switching actions",
    "notebooks/published_tables.py": r"largest distance 0\.8\d kW\n",
}


def test_every_example_is_run_here() -> None:
    found = [path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")]
    assert sorted(found) == sorted(PRINTED)


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_every_example_has_a_title_and_an_introduction(name: str) -> None:
    """What the gallery shows of it: a title, a rule as long, and a few sentences."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    found = re.match(r'"""\n(.+)\n(=+)\n\n((?:.+\n)+)"""\n', text)
    assert found is not None
    title, rule, introduction = found.groups()
    assert len(title) == len(rule)
    assert 2 <= len(re.findall(r"[.?](?:\s|$)", introduction)) <= 3


def test_readme_shows_the_first_example() -> None:
    readme = (EXAMPLES.parents[1] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    example = (EXAMPLES / "solve_a_case.py").read_text(encoding="utf-8")
    assert block in example


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_example(
    name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = str(EXAMPLES / name)
    if name == ALONE:
        subprocess.run([sys.executable, script], check=True, timeout=240)
    else:
        runpy.run_path(script, run_name="__main__")
    assert re.search(PRINTED[name], capfd.readouterr().out)
