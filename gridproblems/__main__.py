"""``python -m gridproblems`` is the command line, as is the command ``gridproblems``."""

from __future__ import annotations

import sys

from gridproblems import _start
from gridproblems._clash import clash
from gridproblems.cli import app
from gridproblems.cli.errors import BAD_INPUT


def main() -> None:
    """Runs the command line; Ctrl-C ends it with code 130 and without a traceback."""
    found = clash()
    if found is not None:
        print(f"Error: {found}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_start.INTERRUPTED)


if __name__ == "__main__":
    main()
