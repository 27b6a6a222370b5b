"""With CI=true a skipped test fails the run, unless its platform makes it impossible."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "mark": "@pytest.mark.skip(reason='because')\ndef test_it():\n    pass",
    "call": "def test_it():\n    pytest.skip('because')",
    "fixture": "@pytest.fixture\ndef tool():\n    pytest.skip('because')\ndef test_it(tool): pass",
    "import": "pytest.importorskip('a_package_of_nobody', reason='because')\ndef test_it(): pass",
    "browser": "def test_it(browser):\n    pass",
}


def run_pytest(folder: Path, text: str, ci: str) -> subprocess.CompletedProcess[str]:
    """Pytest on one file beside a copy of our conftest, where no browser can be found."""
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (folder / "test_it.py").write_text("import pytest\n" + text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**os.environ, "CI": ci, "PATH": str(folder), "PLAYWRIGHT_BROWSERS_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", CASES)
def test_a_skipped_test_fails_in_ci(name: str, tmp_path: Path) -> None:
    done = run_pytest(tmp_path, CASES[name], "true")
    assert done.returncode == (2 if name == "import" else 1), done.stdout + done.stderr
    assert "was skipped, which CI=true forbids: " in done.stdout
    assert ("no browser" if name == "browser" else "because") in done.stdout


def test_elsewhere_it_is_only_skipped(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, CASES["browser"], "false")
    assert (done.returncode, "1 skipped" in done.stdout) == (0, True), done.stdout


def test_a_platform_that_makes_it_impossible_is_a_reason(tmp_path: Path) -> None:
    text = "@pytest.mark.skip(reason='platform: no threads there')\ndef test_it():\n    pass"
    done = run_pytest(tmp_path, text, "true")
    assert (done.returncode, "1 skipped" in done.stdout) == (0, True), done.stdout
