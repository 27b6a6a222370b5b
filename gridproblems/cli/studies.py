"""Command line: ``gridproblems compare``, ``report`` and ``export``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gridproblems import _start
from gridproblems._names import lookup
from gridproblems._own import files_in, trust
from gridproblems.cli.errors import one_line_errors
from gridproblems.cli.names import check_study
from gridproblems.study.plans import plans_in, plans_path
from gridproblems.study.ready import STUDIES

if TYPE_CHECKING:
    import pandas as pd

    from gridproblems.study import Results, Study

INTERRUPTED = 130
SOME_FAILED = 1
FILE = "study.db"
REPORT = "report.html"

Out = Annotated[Path, typer.Option(help="Folder with study.db and report.html")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of errors")]


class Format(str, Enum):
    """What `export` writes."""

    csv = "csv"
    ioh = "ioh"


def compare(
    problems: Annotated[
        list[str] | None,
        typer.Argument(
            help="task:case, also task:case?objectives=a,b&option=value, a test problem of pymoo, "
            "zdt1 or rastrigin?n_var=10, or your own, my.py:make; repeatable"
        ),
    ] = None,
    algorithms: Annotated[
        str,
        typer.Option(
            help="Algorithms, separated by commas; hs?pop_size=20 sets a parameter, "
            "my.py:MyGA is your own"
        ),
    ] = "hs,mvmo",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds: 1, 2, ...")] = 31,
    evals: Annotated[int, typer.Option(min=1, help="Evaluations of each run, exactly")] = 10_000,
    jobs: Annotated[int, typer.Option(help="Parallel runs, -1 for all cores")] = 1,
    out: Out = Path("results"),
    timeout: Annotated[
        float | None,
        typer.Option(help="Longest time of a run in seconds; longer ones fail", min=0.001),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="A ready study instead: papers, dispatch, reconfiguration")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and how long, run nothing")
    ] = False,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Keep the evaluations of unfinished runs every so many; by default every ten "
            "seconds, 0 for never",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the report's path only")] = False,
    debug: Debug = False,
) -> None:
    """Run algorithms against each other on problems, and write a report.

    Every finished run is kept: Ctrl-C any time, the same command goes on where it was, as does
    gridproblems resume FOLDER. The report is of all runs in the folder. Exit codes: 0 done, 1 some
    runs failed, 2 bad input, 130 interrupted.
    """
    with one_line_errors(debug):
        console = Console(quiet=quiet)
        trust(*files_in([*(problems or []), *re.split(",", algorithms)]))
        made = _study(problems or [], algorithms, seeds, evals, out / FILE, study, timeout)
        if dry_run:
            _show_plan(made.plan(jobs), made, console)
            return
        failed, interrupted = run_studies([made], jobs, checkpoint_every, quiet)
    _end(failed, interrupted)


def run_studies(
    made: Sequence[Study], jobs: int, checkpoint_every: int | None, quiet: bool
) -> tuple[int, bool]:
    """Runs studies of one file one after the other, and reports all runs of that file.

    Returns:
        How many runs of these studies failed, and whether the user interrupted them.

    Raises:
        ValueError: What the report needs is not installed.
    """
    _check_plotly()
    from gridproblems.study import Results
    from gridproblems.study.analyse import table
    from gridproblems.study.report import verdict, write_report

    console, interrupted = Console(quiet=quiet), False
    try:
        for study in made:
            study.run(n_jobs=jobs, progress=not quiet, checkpoint_every=checkpoint_every)
    except KeyboardInterrupt:
        interrupted = True
    failed = 0
    for study in made:
        if study.path.exists():
            failed += sum(run.outcome.status == "failed" for run in study.results().runs)
    path = made[0].path
    results = Results(path)
    if any(run.outcome.status == "finished" for run in results.runs):
        for study in made:
            study.describe()
        written = write_report(Results(path), path.parent / REPORT)
        _show_table(table(results), console)
        console.print(verdict(results), markup=False, highlight=False)
        _tell(results)
        typer.echo(written) if quiet else console.print(
            f"Report in [bold]{written}[/bold]", highlight=False, soft_wrap=True
        )
    return failed, interrupted


def _end(failed: int, interrupted: bool) -> None:
    """The exit code of studies, and what to do next."""
    if failed:
        typer.echo(f"{failed} runs failed; the same command repeats them", err=True)
    if interrupted:
        typer.echo("Interrupted; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(SOME_FAILED)


def resume_studies(folder: Path, jobs: int | None, quiet: bool) -> bool:
    """Goes on with what is left of the studies in a folder; False where there is none.

    Raises:
        ValueError: A problem or algorithm is unknown, or the file of what is left is none.
    """
    path = folder / FILE
    plans = plans_in(plans_path(path))
    if not plans:
        return False
    made = []
    for plan in plans:
        if Path(plan.folder).is_dir():
            os.chdir(plan.folder)
        check_study(list(plan.problems.values()), list(plan.algorithms.values()))
        made.append(
            _study_of(
                path, plan.problems, plan.algorithms, plan.seeds, plan.n_evals, plan.timeout_s
            )
        )
    failed, interrupted = run_studies(made, jobs or 1, plans[0].checkpoint_every, quiet)
    _end(failed, interrupted)
    return True


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a study, or its file")],
    out: Annotated[Path | None, typer.Option(help="HTML file; by default in the folder")] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Write the charts as PNG files too")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Write it again while the study runs, as a page that renews itself"
        ),
    ] = False,
    every: Annotated[float, typer.Option(min=1.0, help="Seconds between pages of --watch")] = 10.0,
    debug: Debug = False,
) -> None:
    """Write the report of a study from its stored runs: one HTML file."""
    with one_line_errors(debug):
        _check_plotly()
        if watch:
            _watch(folder, out, every)
            if not figures:
                return
        results = _results_of(folder)
        from gridproblems.study.report import write_report

        typer.echo(write_report(results, out or results.path.parent / REPORT, figures=figures))


def _watch(folder: Path, out: Path | None, every_s: float) -> None:
    """Renews the page of a study until the study has ended, or the user ends it."""
    study = folder if folder.suffix == ".db" else folder / FILE
    page = out or study.parent / REPORT
    from gridproblems.study.watch import watch

    _start.loaded()
    typer.echo(f"Open {page} in a browser; Ctrl-C ends the watch, not the study", err=True)
    try:
        typer.echo(watch(study, page, every_s))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a study, or its file")],
    format: Annotated[
        Format, typer.Option("--format", help="csv tables, or ioh for IOHanalyzer")
    ] = Format.csv,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; by default csv or ioh in the folder")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the runs of a study for other programs."""
    with one_line_errors(debug):
        results = _results_of(folder)
        from gridproblems.study.export import export_csv, export_ioh

        target = out or results.path.parent / format.value
        paths = (export_csv if format is Format.csv else export_ioh)(results, target)
        for path in paths:
            typer.echo(path)


def _study(
    problems: list[str],
    algorithms: str,
    seeds: int,
    evals: int,
    path: Path,
    ready: str | None,
    timeout_s: float | None,
) -> Study:
    """The study of the arguments, or a ready one.

    Raises:
        ValueError: Neither problems nor a ready study, or both; an unknown name.
    """
    if (ready is None) == (not problems):
        raise ValueError("expected problems, such as orpd:ieee39, or --study, not both")
    if ready is None:
        outside_brackets = r",(?![^\[]*\])"
        names = [name.strip() for name in re.split(outside_brackets, algorithms) if name.strip()]
        check_study(problems, names)
        return _study_of(path, problems, names, seeds, evals, timeout_s)
    made = lookup("study", ready, STUDIES)
    limit_s = made.timeout_s if timeout_s is None else timeout_s
    return _study_of(path, made.problems, made.algorithms, made.seeds, made.n_evals, limit_s)


def _study_of(path: Path, *arguments: Any) -> Study:
    from gridproblems.study import Study

    _start.loaded()
    return Study(path, *arguments)


def _results_of(folder: Path) -> Results:
    path = folder / FILE if folder.is_dir() else folder
    if not path.is_file():
        raise FileNotFoundError(f"no study in {path}")
    from gridproblems.study import Results

    _start.loaded()
    results = Results(folder)
    _tell(results)
    return results


def _tell(results: Results) -> None:
    """What a reader of the figures should know, on stderr."""
    for note in results.notes:
        typer.echo(f"Note: {note}", err=True)


def _check_plotly() -> None:
    """Say so before the runs, not after.

    Raises:
        ValueError: What the report needs is not installed.
    """
    if find_spec("plotly") is None:
        raise ValueError("the report needs plotly: pip install 'gridproblems[report]'")


def _show_plan(plan: pd.DataFrame, study: Study, console: Console) -> None:
    shown = Table("problem", "algorithm", "evaluations", "stored", "to do", "s a run", "s")
    for row in plan.itertuples(index=False):
        cells = (row.evaluations, row.stored, row.missing, f"{row.s_per_run:.2g}", f"{row.s:.0f}")
        shown.add_row(_plain(row.problem), _plain(row.algorithm), *map(str, cells))
    console.print(shown)
    console.print(
        f"{plan.missing.sum()} of {len(study.jobs)} runs to do, about {plan.s.sum():.0f} s; "
        f"nothing was run or written to {study.path}",
        markup=False,
        highlight=False,
    )


def _show_table(table: pd.DataFrame, console: Console) -> None:
    for problem, rows in table.groupby("problem", sort=False):
        shown = Table(title=_plain(str(problem)), title_justify="left")
        shown.add_column("algorithm", overflow="fold")
        for name in ("runs", "feasible", "median", "best", "gap", "mean rank"):
            shown.add_column(name, justify="right", no_wrap=True)
        for _, row in rows.iterrows():
            if not row["runs"]:
                shown.add_row(_plain(row["algorithm"]), "0")
                continue
            shown.add_row(
                _plain(row["algorithm"]),
                str(row["runs"]),
                f"{row['feasible']:.0%}",
                f"{row['median']:.6g}",
                f"{row['best']:.6g}",
                f"{round(row['gap_percent'], 6):.3g} %",
                f"{row['mean_rank']:.2f}",
            )
        console.print(shown)


def _plain(text: str) -> str:
    """Text as it is: rich would read brackets as markup."""
    return text.replace("[", r"\[")
