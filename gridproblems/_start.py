"""Ctrl-C while the command line is being loaded: the process ends at once, without a traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = 130  # what shells report for a process ended by Ctrl-C


def loading() -> None:
    """Ends the process at Ctrl-C, if it is the command line that loads the package."""
    started_as = os.path.basename(sys.argv[0]).removesuffix(".exe") if sys.argv else ""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    in_main = threading.current_thread() is threading.main_thread()
    if started_as in ("-m", "gridproblems") and ours and in_main:
        signal.signal(signal.SIGINT, _end)


def loaded() -> None:
    """Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    # no exception: modules being imported may catch or print it
    os._exit(INTERRUPTED)


loading()  # importing this first is what protects the imports after it
