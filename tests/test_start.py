"""Ctrl-C while the command line is being loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Runs the command line and sends itself a Ctrl-C when a module is looked for.
PROGRAM = """
import os, runpy, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in jobs of the background

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["-m", *{arguments!r}]
runpy.run_module("gridproblems", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("pandapower", ["solve", "orpd", "--case", "ieee14", "--out", "{folder}"]),
        ("gridproblems.cli.studies", ["list"]),
        ("algorithms", ["solve", "orpd", "--case", "ieee14", "--out", "{folder}"]),
    ],
)
def test_ctrl_c_ends_the_start_without_a_traceback(
    module: str, arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(tmp_path_factory.mktemp("runs"))
    program = PROGRAM.format(
        module=module, arguments=[argument.format(folder=folder) for argument in arguments]
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 130
    assert len(ended.stderr.splitlines()) <= 1
    assert "Traceback" not in ended.stdout + ended.stderr


def test_importing_the_package_leaves_ctrl_c_alone() -> None:
    program = (
        "import signal;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import gridproblems;"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
