"""Studies: algorithms against each other on problems, every result kept, shown in a report."""

from __future__ import annotations

from gridproblems.study.results import Results
from gridproblems.study.store import StudyFileError
from gridproblems.study.study import Study

__all__ = ["Results", "Study", "StudyFileError"]
