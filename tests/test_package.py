"""What is published: wheel and source distribution, and another package called algorithms."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import gridproblems

HERE = Path(__file__).parent.parent

USE = """
from pymoo.optimize import minimize
import gridproblems, algorithms
# an engine that is not compiled anew for every place
problem = gridproblems.ReactivePowerDispatch("ieee14", engine="reference")
result = minimize(problem, algorithms.MVMO(local_search=False), ("n_eval", 20), seed=1)
assert result.algorithm.evaluator.n_eval == 20
print(gridproblems.__file__)
print(algorithms.__file__)
"""


def run(arguments: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A Python process started in a folder; ``PYTHONPATH`` comes before what is installed."""
    environment = {**os.environ, **more}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    done = run(["-m", "build", "--no-isolation", "--outdir", str(folder), str(HERE)], folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel_has_all_that_the_packages_need(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    there = {
        path.relative_to(HERE).as_posix()
        for package in ("gridproblems", "algorithms")
        for path in (HERE / package).rglob("*")
        if path.is_file() and path.suffix not in {".nbc", ".nbi", ".pyc"}
    }
    assert there <= inside
    assert {name.partition("/")[0] for name in inside} == {
        "gridproblems",
        "algorithms",
        f"gridproblems-{gridproblems.__version__}.dist-info",
    }


def test_source_distribution_builds_the_wheel_and_holds_what_it_says(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"} <= inside
    assert any(name.startswith("tests/") for name in inside)


def test_wheel_works_from_another_folder(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "place"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(["-c", USE], elsewhere, PYTHONPATH=str(place))
    assert done.returncode == 0, done.stderr
    assert [Path(line).is_relative_to(place) for line in done.stdout.splitlines()] == [True, True]
    listed = run(["-m", "gridproblems", "list"], elsewhere, PYTHONPATH=str(place))
    assert listed.returncode == 0, listed.stderr
    assert "mvmo" in listed.stdout


def test_another_package_called_algorithms_is_named(tmp_path: Path) -> None:
    other = tmp_path / "algorithms"
    other.mkdir()
    (other / "__init__.py").write_text("from .sort import bubble_sort\n", encoding="utf-8")
    where = os.pathsep.join((str(tmp_path), str(HERE)))
    done = run(["-W", "always", "-c", "import gridproblems"], tmp_path, PYTHONPATH=where)
    assert done.returncode == 0
    assert f"finds {other / '__init__.py'}, which is not the package of gridproblems" in done.stderr
    ended = run(["-m", "gridproblems", "list"], tmp_path, PYTHONPATH=where)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("Error: 'import algorithms' finds ")
    assert "Traceback" not in ended.stderr


def test_citation_and_recipe_name_the_version() -> None:
    for name in ("CITATION.cff", ".ci/conda/recipe.yaml"):
        assert gridproblems.__version__ in (HERE / name).read_text(encoding="utf-8")
