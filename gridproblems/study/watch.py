"""A page that renews itself while a study runs: files alone, no server."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path

from gridproblems._written import write_text
from gridproblems.study.plans import plans_in, plans_path
from gridproblems.study.report import write_report
from gridproblems.study.results import Results
from gridproblems.study.store import Store
from gridproblems.study.template import WAITING

#: How often a study has to be found at rest before it has ended.
_AT_REST = 2


def watch(
    study: str | Path,
    page: str | Path,
    every_s: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Writes the report again and again while processes are at a study, the last time for good.

    Every page is written whole and then moved in place of the one before, and asks the browser to
    load it again; the last one does not.

    Args:
        study: The file of the study, which need not be there yet.
        page: The HTML file.
        every_s: Seconds from one page to the next.
        sleep: Waits.

    Returns:
        The page.

    Raises:
        ValueError: ``every_s`` is below 1 s, or the file is that of no study.
        StudyFileError: The file cannot be read.
    """
    if not every_s >= 1.0:
        raise ValueError(f"every_s: expected at least 1 s, got {every_s}")
    study, page = Path(study), Path(page)
    at_rest, shown = 0, ""
    while at_rest < _AT_REST:
        is_at_work, stored = _seen(study)
        at_rest = 0 if is_at_work or not stored else at_rest + 1
        if stored != shown or not page.exists():
            shown = stored
            _write(study, page, round(every_s))
        if at_rest < _AT_REST:
            sleep(every_s)
    _write(study, page, None)
    return page


def _seen(study: Path) -> tuple[bool, str]:
    """Whether somebody is at work, and what is stored; an empty text for nothing."""
    if not study.is_file():
        return False, ""
    with Store(study, read_only=True) as store:
        return store.is_at_work(), str(store.last_id() or "")


def _write(study: Path, page: Path, every_s: int | None) -> None:
    """The report, or a page that waits for the first run."""
    results = Results(study) if study.is_file() else None
    done = sum(run.outcome.status == "finished" for run in results.runs) if results else 0
    if results is not None and done:
        write_report(results, page, renewed=None if every_s is None else (every_s, _status(study)))
        return
    page.parent.mkdir(parents=True, exist_ok=True)
    refresh = "" if every_s is None else f'<meta http-equiv="refresh" content="{every_s}">'
    words = "No run has finished yet." if every_s is not None else "No run has finished."
    write_text(page, WAITING.replace("@REFRESH@", refresh).replace("@WORDS@", escape(words)))


def _status(study: Path) -> str:
    """How far the study is, where it is known how far it goes."""
    wanted = {
        (problem, algorithm, seed)
        for plan in plans_in(plans_path(study))
        for problem in plan.problems
        for algorithm in plan.algorithms
        for seed in plan.seeds
    }
    with Store(study, read_only=True) as store:
        stored = {
            (run.key.problem, run.key.algorithm, run.key.seed)
            for run in store.runs()
            if run.outcome.status == "finished"
        }
    if not wanted:
        return f"The study is running: {len(stored)} runs so far."
    return f"The study is running: {len(stored & wanted)} of {len(wanted)} runs so far."
