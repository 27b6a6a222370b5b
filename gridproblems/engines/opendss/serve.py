"""The process in which a feeder from elsewhere is tried, see `trial`."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gridproblems.engines.opendss.engine import OpenDSSEngine
from gridproblems.engines.opendss.trial import note_as_passed
from gridproblems.state import Settings

if TYPE_CHECKING:
    from gridproblems.feeders import Feeder

#: Most that a trial may take beyond what it has at its start, on Linux. [bytes]
MOST_MEMORY_BYTES = 4 * 2**30


def serve() -> None:
    """What the other process does: reads the feeder, prints what is wrong with it as JSON."""
    feeder: Feeder = pickle.load(sys.stdin.buffer)
    note_as_passed(feeder)
    _limit_memory()
    answer = ""
    try:
        OpenDSSEngine(feeder).solve(Settings.from_mapping({}))
    except MemoryError:
        answer = f"feeder {feeder.name}: it takes more memory than a feeder needs"
    except ValueError as error:
        answer = str(error)
    print(f"\n{json.dumps(answer)}", flush=True)


def _limit_memory() -> None:
    if not sys.platform.startswith("linux"):
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
