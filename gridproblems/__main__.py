"""``python -m gridproblems`` is the command line, as is the command ``gridproblems``."""

from __future__ import annotations

import sys

from gridproblems import _start
from gridproblems.cli import app


def main() -> None:
    """Runs the command line; Ctrl-C ends it with code 130 and without a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_start.INTERRUPTED)


if __name__ == "__main__":
    main()
