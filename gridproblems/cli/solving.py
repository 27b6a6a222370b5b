"""Command line: ``gridproblems solve``."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gridproblems import _start
from gridproblems._own import files_in, trust
from gridproblems.cli.asked import EVALUATIONS, RUN, Asked
from gridproblems.cli.errors import one_line_errors
from gridproblems.cli.names import check_algorithm, check_other_problem, check_problem
from gridproblems.words import GRID, named_options, task_and_case

if TYPE_CHECKING:
    from pymoo.core.algorithm import Algorithm
    from pymoo.core.problem import Problem

    from gridproblems._progress import Recorder
    from gridproblems._results import Run
    from gridproblems.checkpoints import Checkpoint
    from gridproblems.problem import GridProblem

INTERRUPTED = 130
MAX_SETTINGS = 40
#: Annotations of arguments that say all, with the types and words for them.
PLAIN: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "None": (type(None),),
}
WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a word",
    "None": "null",
}


def solve(
    task: Annotated[
        str,
        typer.Argument(
            help="Task, for example orpd; see: gridproblems list. Without one the problem is made "
            "of the parts that --control, --situations, --objective and --limit name"
        ),
    ] = "grid",
    case: Annotated[
        str | None,
        typer.Option(
            "--case", "--feeder", help="Name of a case or feeder, or path to a file of your own"
        ),
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option(
            help="A problem instead of a case: a test problem of pymoo, zdt1 or "
            "rastrigin?n_var=10, or your own, my.py:make"
        ),
    ] = None,
    algorithm: Annotated[
        str,
        typer.Option(
            help="Algorithm; see: gridproblems list; hs?pop_size=20 sets a parameter, my.py:MyGA "
            "is your own"
        ),
    ] = "mvmo",
    evals: Annotated[int, typer.Option(min=1, help="Budget: number of evaluations")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers")] = 1,
    out: Annotated[Path, typer.Option(help="Parent of the folder with the results")] = Path(
        "results"
    ),
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            "--objectives",
            help="Objective, also with its reduction, p_loss_kw:max, or your own, my.py:f; "
            "repeatable, or separated by commas",
        ),
    ] = None,
    controls: Annotated[
        list[str] | None,
        typer.Option(
            "--control",
            "--controls",
            help="Control, also with arguments, units:dg:3:max_size=1.5; of a task a control "
            "group; repeatable, or separated by commas",
        ),
    ] = None,
    situations: Annotated[
        str | None,
        typer.Option(help="What every candidate is tried in, for example hours*outages:lines"),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            help="Values over time from a CSV file or workbook: load.p_mw=day.csv, or load=day.csv "
            "for factors of all loads, pv=sun.csv; repeatable"
        ),
    ] = None,
    constraints: Annotated[
        list[str] | None,
        typer.Option(
            "--constraint",
            help="Constraint of your own, my.py:f, a function of (settings, state), feasible where "
            "<= 0; repeatable",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="Power-flow engine")] = "auto",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="Limit instead of those of the grid's tables: vm_pu=0.95,1.05, "
            "loading_percent=100, vm_pu=none for no limit, or vm_pu=chance:0.95:0.95,1.05 for one "
            "that holds in 95 % of the situations; repeatable"
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Further argument of the task, for example coding=loops; repeatable"),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Parallel evaluations")] = 1,
    population: Annotated[
        int | None, typer.Option(min=1, help="Population size of the algorithm")
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Keep the evaluations every so many, so that a killed run goes on with: "
            "gridproblems resume FOLDER; by default every ten seconds, 0 for never",
        ),
    ] = None,
    survivable: Annotated[
        bool,
        typer.Option(
            "--survivable",
            help="Leave out outages that no settings are found to survive, and say which",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the folder only")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors")] = False,
) -> None:
    """Optimise a grid and write settings, solved net, figures and plots to a folder.

    Ctrl-C ends the run early; everything is written for the best so far. A run that was
    interrupted or killed goes on with: gridproblems resume FOLDER.
    """
    with one_line_errors(debug):
        asked = Asked(
            task=task,
            case=case or "",
            problem=problem,
            algorithm=algorithm,
            evals=evals,
            seed=seed,
            objectives=tuple(objectives or ()),
            controls=tuple(controls or ()),
            situations=situations,
            series=tuple(series or ()),
            engine=engine,
            constraints=tuple(constraints or ()),
            limit=tuple(limit or ()),
            option=tuple(option or ()),
            jobs=jobs,
            population=population,
            checkpoint_every=checkpoint_every,
            folder=os.getcwd(),
        )
        trust(*files_in(asked.words()))
        said: list[str] = []
        if survivable:
            asked, said = _survivable(asked)
        solve_asked(asked, quiet=quiet, out=out, said=said)


def solve_asked(
    asked: Asked,
    quiet: bool,
    out: Path | None = None,
    folder: Path | None = None,
    mixed_versions: bool = False,
    said: Sequence[str] = (),
) -> None:
    """Solves what was asked for, or goes on with it.

    Args:
        asked: The run.
        quiet: Print the folder only.
        out: Parent of a new folder.
        folder: Of a run that was begun already.
        mixed_versions: Go on although versions of packages have changed.
        said: What is to be said before the search.

    Raises:
        ValueError: Something that was asked for is unknown or does not fit.
        CheckpointError: What the folder holds is of another run, or in use.
        typer.Exit: The run was interrupted.
    """
    given, further = asked.given(), asked.further()
    _check_problem(asked, given, further)
    check_algorithm(named_options(asked.algorithm)[0])
    from gridproblems._results import new_folder
    from gridproblems.outlook import outlook
    from gridproblems.problem import GridProblem

    _start.loaded()
    with _Interrupt() as interrupt, ExitStack() as stack:
        problem = _problem_asked(asked, given, further)
        optimiser = _algorithm(asked.algorithm, problem, asked.evals, asked.population)
        is_new = folder is None
        if folder is None:
            assert out is not None
            folder = new_folder(out, asked.name())
            if asked.checkpoint_every != 0:
                asked.write(folder)
        checkpoint = _checkpoint(asked, problem, optimiser, folder, mixed_versions)
        if checkpoint is not None:
            stack.enter_context(checkpoint)
            checkpoint.flush()
        console = Console(quiet=quiet)
        is_grid = isinstance(problem, GridProblem)
        before: list[str] = []
        if isinstance(problem, GridProblem):
            before = [*_notes(problem), *said, *outlook(problem).lines]
        for line in before:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        recorder, interrupted = _run(problem, optimiser, console, interrupt, asked, checkpoint)
        if recorder.evaluations == 0:
            if is_new:
                _forget(folder, checkpoint)
            raise typer.Exit(INTERRUPTED)
        write = _write_grid if is_grid else _write_points
        with _no_interrupt():
            show = write(
                asked, problem, optimiser, recorder, interrupted, folder,
                before=before, options={**given, **further},
            )  # fmt: skip
            if not interrupted:
                _forget(folder, checkpoint)
    show(console)
    if quiet:
        typer.echo(folder)
    else:
        console.print(f"Results in [bold]{folder}[/bold]", highlight=False, soft_wrap=True)
    if interrupted:
        if checkpoint is not None:
            typer.echo(f"Interrupted; go on with: gridproblems resume {folder}", err=True)
        raise typer.Exit(INTERRUPTED)


def _check_problem(asked: Asked, given: Mapping[str, Any], further: Mapping[str, Any]) -> None:
    """Checks all names in what is to be solved.

    Raises:
        ValueError: The message has the nearest known name, or what is missing or too much.
    """
    if asked.problem is None:
        if not asked.case:
            raise ValueError("expected --case or --feeder with a grid, or --problem")
        check_problem(asked.task, asked.case, given, further)
        return
    more = [*(["case"] if asked.case else []), *given, *further]
    more += [] if asked.task == GRID else ["task"]
    if more:
        raise ValueError(f"--problem {asked.problem}: expected no {more[0]} beside it")
    if not check_other_problem(asked.problem):
        task, case, options = task_and_case(asked.problem)
        check_problem(task, case, options, options)


def _survivable(asked: Asked) -> tuple[Asked, list[str]]:
    """What was asked for without the outages that no settings were found to survive.

    Returns:
        It, and what is to be said of those that are left out.

    Raises:
        ValueError: There are no outages, or the problem cannot be made.
    """
    given, further = asked.given(), asked.further()
    situations = given.pop("situations", None)
    if asked.problem is not None or situations is None:
        raise ValueError("--survivable: expected outages among the --situations")
    _check_problem(asked, {**given, "situations": situations}, further)
    from gridproblems.grids import NetGrid
    from gridproblems.specification import problem_named
    from gridproblems.study.survival import survival, without

    _start.loaded()
    given["objectives"] = tuple(given.get("objectives", ()))[:1] or ("p_loss_mw",)
    takes_grid = asked.task in (GRID, "orpd")
    case: Any = NetGrid(asked.case) if takes_grid else asked.case

    def make(tried: Any, engine: str) -> GridProblem:
        options = {"engine": engine, **given, **further, "situations": tried}
        return problem_named(asked.task, case, options)

    found = survival(make, situations)
    n = len(found.names)
    if found.whole:
        from gridproblems.violations import listed

        nearest = listed(found.whole[::-1])
        return asked, [f"Even without outages no settings were found; nearest: {nearest}"]
    if not found.lost:
        return asked, []
    said = [f"Left out, {len(found.lost)} of {n} outages that no settings were found to survive:"]
    said += [f"  {one}" for one in found.lost]
    if len(found.lost) == n:
        raise ValueError("\n".join(["--survivable: none is left of", *said]))
    words = without(situations, [one.name for one in found.lost])
    return replace(asked, situations=words, series=()), said


def _problem_asked(asked: Asked, given: Mapping[str, Any], further: Mapping[str, Any]) -> Problem:
    """What is to be solved.

    Raises:
        ValueError: It cannot be made of what was asked for.
    """
    if asked.problem is None:
        return _problem(asked.task, asked.case, given, further, asked.jobs)
    from gridproblems.parallel import PopulationRunner
    from gridproblems.problem import GridProblem
    from gridproblems.study.specs import problem_of

    made = problem_of(asked.problem)
    if asked.jobs != 1:
        if not isinstance(made, GridProblem):
            raise ValueError(f"--jobs: {asked.problem} is no grid, and evaluated in one process")
        made.elementwise_runner = PopulationRunner(asked.jobs)
    return made


def _checkpoint(
    asked: Asked,
    problem: Problem,
    optimiser: Algorithm,
    folder: Path,
    mixed_versions: bool,
) -> Checkpoint | None:
    """Where the evaluations of the run are kept; None where it cannot be continued.

    Raises:
        ValueError: It cannot, and was asked to be.
        CheckpointError: The file is of another run, or in use.
    """
    from gridproblems.checkpoints import Checkpoint, why_not

    if asked.checkpoint_every == 0:
        return None
    reason = why_not(optimiser)
    if reason and asked.checkpoint_every is not None:
        raise ValueError(f"--checkpoint-every: {asked.algorithm} cannot be continued: {reason}")
    if reason:
        return None
    path = folder / EVALUATIONS
    return Checkpoint(path, problem, asked.checkpoint_every, asked.told(), mixed_versions)


def _forget(folder: Path, checkpoint: Checkpoint | None) -> None:
    """Removes what was kept for the case that the run does not finish."""
    (folder / RUN).unlink(missing_ok=True)
    if checkpoint is not None:
        checkpoint.remove()


def _problem(
    task: str, case: str, given: Mapping[str, Any], further: Mapping[str, Any], jobs: int
) -> GridProblem:
    """The problem with the options the user gave; the others keep their defaults.

    Args:
        task: Name in `PROBLEMS`.
        case: Of a case or feeder, or a path.
        given: What has an option of its own on the command line.
        further: What came as ``--option name=value``.
        jobs: Parallel evaluations.

    Raises:
        ValueError: The task is unknown, has no such option, or cannot use its value.
    """
    from gridproblems.problem import arguments_of
    from gridproblems.specification import check_names, problem_named
    from gridproblems.tasks.registry import PROBLEMS

    check_names(task, {**given, **further})
    parameters = arguments_of(PROBLEMS[task])
    for name, value in further.items():
        if name in (*given, "n_jobs"):
            raise ValueError(f"--option {name}={_text(value)}: {name} is given twice")
        _check_type(name, value, str(parameters[name].annotation))
    return problem_named(task, case, {**given, **further, "n_jobs": jobs})


def _notes(problem: GridProblem) -> list[str]:
    """What reading the grid's file changed."""
    return [f"Read: {note}" for note in getattr(problem.grid, "notes", ())]


def _check_type(name: str, value: Any, annotation: str) -> None:
    """Checks an option whose type is plain; what may be more is left to the task.

    Raises:
        ValueError: The value is of another type.
    """
    expected = annotation.split(" | ")
    if not all(part in PLAIN or part.startswith("Sequence[") for part in expected):
        return
    kinds = {k for part in expected for k in PLAIN.get(part, (list,))}
    if type(value) not in kinds:
        words = " or ".join(WORDS.get(part, "a list such as [1, 2]") for part in expected)
        raise ValueError(f"--option {name}={_text(value)}: expected {words}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _algorithm(spec: str, problem: Problem, evals: int, population: int | None) -> Algorithm:
    """The algorithm and, if given, the size of its population.

    Raises:
        ValueError: The name is unknown, or the algorithm has no population size.
    """
    from gridproblems.study.specs import algorithm_of

    algorithm = algorithm_of(spec, problem, evals)
    if population is None:
        return algorithm
    for parameter in ("pop_size", "n_particles"):
        if hasattr(algorithm, parameter):
            more = f"{spec}{'&' if '?' in spec else '?'}{parameter}={population}"
            return algorithm_of(more, problem, evals)
    raise ValueError(f"--population: {spec} has no population size")


def _run(
    problem: Problem,
    optimiser: Algorithm,
    console: Console,
    interrupt: _Interrupt,
    asked: Asked,
    checkpoint: Checkpoint | None,
) -> tuple[Recorder, bool]:
    """Minimises until the budget is spent or the user interrupts, and says which."""
    from pymoo.optimize import minimize

    from gridproblems._progress import LiveDisplay, Recorder
    from gridproblems._results import best_known_value
    from gridproblems.problem import GridProblem
    from gridproblems.study.describe import facts_of

    counts = None
    if isinstance(problem, GridProblem):
        known, sign = best_known_value(problem), float(problem.objective_signs[0])
        names = list(problem.objective_names)
        counts = problem.counts if problem.situations.n > 1 else None
    else:
        known, sign, names = None, 1.0, facts_of(problem)["objectives"]
    display = LiveDisplay(console, asked.evals, names, known, sign=sign, counts=counts)

    def after_batch(recorder: Recorder) -> None:
        display.update(recorder)
        interrupt.raise_if_asked()

    recorder = Recorder(problem.n_obj, asked.evals, on_batch=after_batch, checkpoint=checkpoint)
    interrupted = False
    with display:
        try:
            minimize(
                problem,
                optimiser,
                ("n_eval", asked.evals),
                seed=asked.seed,
                evaluator=recorder.evaluator,
                copy_algorithm=False,
            )
        except KeyboardInterrupt:
            interrupted = True
        if recorder.evaluations:
            display.update(recorder, final=True)
    return recorder, interrupted


def _write_grid(
    asked: Asked,
    problem: GridProblem,
    optimiser: Algorithm,
    recorder: Recorder,
    interrupted: bool,
    folder: Path,
    **more: Any,
) -> Callable[[Console], None]:
    """Writes the results of a grid, and gives what prints them."""
    from gridproblems._results import Run, parameters_of, write

    run = Run(
        task=asked.task if asked.problem is None else "problem",
        case=asked.case or str(asked.problem),
        algorithm=asked.algorithm,
        parameters=parameters_of(optimiser),
        seed=asked.seed,
        problem=problem,
        recorder=recorder,
        run_time_s=recorder.run_time_s,
        interrupted=interrupted,
        **more,
    )
    result = write(run, folder)

    def show(console: Console) -> None:
        _report(console, run, result)
        if not (folder / "settings.xlsx").exists():
            console.print(
                "settings.xlsx is left out: pip install 'gridproblems[excel]'", markup=False
            )

    return show


def _write_points(
    asked: Asked,
    problem: Problem,
    optimiser: Algorithm,
    recorder: Recorder,
    interrupted: bool,
    folder: Path,
    **_: Any,
) -> Callable[[Console], None]:
    """Writes the results of a problem that is no grid, and gives what prints them."""
    from gridproblems._results import parameters_of
    from gridproblems.study.points import PointsRun, write_points

    run = PointsRun(
        spec=str(asked.problem),
        algorithm=asked.algorithm,
        parameters=parameters_of(optimiser),
        seed=asked.seed,
        problem=problem,
        recorder=recorder,
        run_time_s=recorder.run_time_s,
        interrupted=interrupted,
    )
    result = write_points(run, folder)
    return lambda console: _report_points(console, run.title, result)


def _report_points(console: Console, title: str, result: Mapping[str, Any]) -> None:
    """Prints the figures of a problem that is no grid."""
    from gridproblems._answer import number_text

    state = "interrupted, best so far" if result["interrupted"] else "finished"
    feasible = "feasible" if result["feasible"] else "NOT FEASIBLE"
    console.print(f"{title}: {state}, {feasible}", markup=False, highlight=False)
    values = Table("objective", "best", "best known", "gap")
    known = number_text(result["best_known"])
    gap = number_text(result["gap_percent"], "+.3f", " %")
    for name, value in result["objectives"].items():
        values.add_row(name, number_text(value), known, gap)
    console.print(values)
    points = f", {result['points']} trade-offs, this is the knee" if result["points"] > 1 else ""
    console.print(
        f"violation {result['violation']:.3g}, {result['evaluations']} evaluations in "
        f"{result['run_time_s']:.1f} s{points}",
        highlight=False,
    )


def _report(console: Console, run: Run, result: dict[str, Any]) -> None:
    """Prints the figures and the settings."""
    from gridproblems._answer import number_text, objective_texts

    state = "interrupted, best so far" if run.interrupted else "finished"
    feasible = "feasible" if result["feasible"] else "NOT FEASIBLE"
    console.print(f"{run.title}: {state}, {feasible}", highlight=False)

    values = Table("objective", "before", "best", "change", "best known", "gap")
    for label, entry in zip(run.objectives, result["objectives"], strict=True):
        values.add_row(label.replace("[", r"\["), *objective_texts(entry))
    for entry in result["measured"]:
        values.add_row(entry["name"], number_text(entry["base"]), number_text(entry["best"]))
    console.print(values)
    front = result["front"]
    if front is not None:
        console.print(f"{front['points']} nondominated points; best is the knee. Extremes:")
        for entry in front["extremes"]:
            text = ", ".join(f"{name} {value:.6g}" for name, value in entry.items())
            console.print(f"  {text}", highlight=False)
    console.print(
        f"violation {result['violation']:.3g}, {result['evaluations']} evaluations "
        f"in {result['run_time_s']:.1f} s ({result['evaluations_per_second']:,.0f} per second), "
        f"{result['failed_evaluations']} failed power flows, engine {result['engine']}",
        highlight=False,
    )
    _report_limits(console, run, result)
    _report_settings(console, run)


def _report_settings(console: Console, run: Run) -> None:
    """Prints the first settings; controls with other columns have a table of their own."""
    from gridproblems._answer import cell_text
    from gridproblems._results import plain_rows

    left = MAX_SETTINGS
    tables = [plain_rows(table) for table in run.problem.tables(run.x)]
    for rows in tables:
        if left > 0:
            settings = Table(*rows[0])
            for row in rows[:left]:
                settings.add_row(*(cell_text(value) for value in row.values()))
            console.print(settings)
        left -= len(rows)
    if not tables:
        console.print("no settings change")
    if left < 0:
        console.print(f"... and {-left} more in result.json")


def _report_limits(console: Console, run: Run, result: dict[str, Any]) -> None:
    """Prints which limits were checked, which do not hold, and what else is to be said."""
    from gridproblems.outlook import checked_limits
    from gridproblems.violations import listed

    checked = ["power flow solved and all supplied"]
    checked += map(str, checked_limits(run.problem))
    lines = [f"limits checked: {', '.join(checked)}"]
    if result["not_limited"]:
        lines.append(f"NOT limited: {', '.join(result['not_limited'])}")
    if not result["converged"]:
        lines.append("no settings were found whose power flow solves and supplies every load")
    elif not result["feasible"]:
        broken = run.problem.violations(run.x)
        lines.append(f"nearest found, {len(broken)} limits do not hold: {listed(broken)}")
    for line in [*lines, *result["remarks"]]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Interrupt:
    """Ctrl-C takes effect after the next batch of evaluations; a second one at once.

    Raised anywhere, a KeyboardInterrupt can be lost: pymoo and destructors swallow it.
    """

    def __enter__(self) -> _Interrupt:
        self._asked = False
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, self._before)

    def raise_if_asked(self) -> None:
        """Raises KeyboardInterrupt after a Ctrl-C."""
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """A second Ctrl-C must not cost the results of the first."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
