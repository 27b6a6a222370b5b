"""Studies: algorithms against each other on problems, every result kept, shown in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridproblems._lazy import lazily

if TYPE_CHECKING:
    from gridproblems.study.results import Results
    from gridproblems.study.store import StudyFileError
    from gridproblems.study.study import Study
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "gridproblems.study.results": ("Results",),
            "gridproblems.study.store": ("StudyFileError",),
            "gridproblems.study.study": ("Study",),
        },
    )

__all__ = ["Results", "Study", "StudyFileError"]
