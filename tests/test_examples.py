"""Every example of the documentation runs, and prints what it should."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"

LOSS = r"\d+\.\d{4} MW"
PRINTED = {
    "allocate_generation.py": r"before 118\.73 %, after 8\d\.\d\d %",
    "parts.py": r"34 situations, losses 39\.6\d MW\nlosses \d\d\.\d kW\n[\s\S]*capacitor 2",
    "place_units.py": r"before, 7\d\.\d{3} kW with[\s\S]*exchange \d+\.\d kWh before, \d+\.\d kWh",
    "study.py": r"mvmo beats small hs with probability [\s\S]*report\.html",
    "reconfigure_a_feeder.py": r"202\.677 kW now, 139\.551 kW then\nbest known 139\.551 kW \(pro",
    "regulators.py": r"fitness \d+\.\d{3} before, 0\.\d{3} after\n! settings for feeder ieee123",
    "solve_a_case.py": r"losses 13\.\d{4} MW, best known 13\.\d{4} MW[\s\S]*voltage 1\.\d{4}",
    "front_as_table.py": r"switching_actions +lines opened\n202\.677126 +0\.0[\s\S]*139\.551347",
    "other_optimisers.py": r"losses 5\.7866 MW, then 4\.\d{4} MW\nbroken limits: 11, then 0",
    "two_objectives.py": r"\d+ nondominated points",
    "warm_start.py": rf"losses {LOSS}, then 4\.51\d\d MW",
    "your_own_net.py": rf"3 controls, .* engine newton\nlosses {LOSS} before, {LOSS} after",
    "your_own_parts.py": r"spread of voltages 0\.\d{4} p\.u\., now 0\.\d{4} p\.u\.",
    "your_own_objective.py": r"\d+\.\d{3} Mvar, violation 0\n",
}


def test_every_example_is_listed_and_shown() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(PRINTED)
    page = (EXAMPLES.parent / "examples.md").read_text(encoding="utf-8")
    shown = re.findall(r"literalinclude} examples/(\S+)", page)
    assert sorted(shown) == sorted(PRINTED)


def test_readme_shows_the_first_example() -> None:
    readme = (EXAMPLES.parents[1] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    example = (EXAMPLES / "solve_a_case.py").read_text(encoding="utf-8")
    assert block in example


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_example(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert re.search(PRINTED[name], capsys.readouterr().out)
