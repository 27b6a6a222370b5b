"""``python -m gridproblems`` is the command line."""

from gridproblems.cli import app

app()
