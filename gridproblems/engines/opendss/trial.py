"""A feeder from elsewhere is built and solved in a process of its own first.

OpenDSS itself dies of some values that a checked file may still hold (a text where it expects a
number), or never ends, or takes all memory. That must cost the trial, not the process that asked.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from gridproblems.feeders import Feeder

LIMIT_S = 120.0

# Without what the packages import besides, a trial starts in half a second.
_PROGRAM = """
import sys, types
sys.path[:] = {path!r}
for name, folders in {packages!r}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = folders
from gridproblems.engines.opendss.serve import serve
serve()
"""
_PACKAGES = ("gridproblems", "gridproblems.engines", "gridproblems.engines.opendss")
_passed: set[str] = set()


def try_out(feeder: Feeder) -> None:
    """Builds and solves a feeder in another process, once per content; trusted ones are not tried.

    Raises:
        ValueError: OpenDSS refuses it, dies of it, or takes longer than ``LIMIT_S``.
    """
    if feeder.trusted:
        return
    content = _content(feeder)
    if content in _passed:
        return
    packages = {name: list(sys.modules[name].__path__) for name in _PACKAGES}
    program = _PROGRAM.format(path=sys.path, packages=packages)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=pickle.dumps(feeder),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"feeder {feeder.name}: OpenDSS does not get done with it in {LIMIT_S:g} s; pass "
            "trust=True (on the command line: --option trust=true) if you know where it comes from"
        ) from None
    answer = None
    with suppress(ValueError, IndexError):
        answer = json.loads(done.stdout.splitlines()[-1])
    if done.returncode or not isinstance(answer, str):
        raise ValueError(
            f"feeder {feeder.name}: OpenDSS dies of it (exit code {done.returncode}): a value in "
            "its files is of the wrong kind or far too large"
        )
    if answer:
        raise ValueError(answer)
    _passed.add(content)


def note_as_passed(feeder: Feeder) -> None:
    """From now on a feeder of this content is not tried."""
    _passed.add(_content(feeder))


def _content(feeder: Feeder) -> str:
    found = hashlib.sha256(repr(feeder.commands).encode())
    for path in dict.fromkeys(path for command in feeder.commands for path in command.files):
        with suppress(OSError):
            found.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return found.hexdigest()
