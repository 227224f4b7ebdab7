"""The command line: the same session calls the window makes.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 it
could not be done (said in plain words), 2 wrong usage, 130 cancelled.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from circuitscope import evidence_verbs, feature_verbs, file_verbs
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import Cancelled, CircuitScopeError, ProjectError
from circuitscope.decomposition_verbs import add_discovery
from circuitscope.decomposition_verbs import add_verbs as add_decomposition_verbs
from circuitscope.dictionaries.hub_cache import as_written
from circuitscope.engine.client import InProcessEngine
from circuitscope.examples import demo as demonstration
from circuitscope.session import doctor as doctors
from circuitscope.session.jobs import Job
from circuitscope.session.logs import start_logging, stop_logging
from circuitscope.session.session import Session
from circuitscope.session.summary import summarise
from circuitscope.session.work import take_link
from circuitscope.trace_verb import DICTIONARIES, add_trace, setting_option
from circuitscope.trial_verbs import add_verbs
from circuitscope.verb_options import AsJson, Quiet

log = logging.getLogger(__name__)

OpenWindow = Callable[[Path | None], int]
_CHECK_TEXT = "The capital of the state containing Dallas is Austin, and the city lies in Texas."
VERBS = frozenset(
    "trace export import check log compact doctor demo lens logits ablate test collect feature "
    "label patch compare measure bench-mib words agree discover train-dictionary "
    "import-evidence explain attend".split()
)
_CANCELLED = 130
_STATES = {"good": "[green]✓[/]", "advice": "[yellow]![/]", "bad": "[red]✗[/]"}

app = typer.Typer(
    name="circuitscope",
    help="See, test and publish the circuits inside a language model, on your own machine.\n\n"
    "Without a verb, `circuitscope [PROJECT]` opens the window, or gives the project to the one "
    "that is open; `--new-window` opens another.",
    epilog="Example: circuitscope dallas.circuitscope",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


def run(arguments: list[str], window: OpenWindow) -> int:
    """Run a verb and return its exit code; no error of the user's world shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Terminals and pipes that lack a character get a question mark, not a failure.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        start_logging()
        app(arguments, prog_name="circuitscope", obj=window)
    except SystemExit as end:
        # Typer turns an interrupt into this exit code, without a word.
        if end.code == _CANCELLED:
            _say("Cancelled. Nothing was changed.")
        return end.code if isinstance(end.code, int) else 1
    except (Cancelled, KeyboardInterrupt):
        _say("Cancelled. Nothing was changed.")
        return _CANCELLED
    except CircuitScopeError as error:
        _complain(error)
        return 1
    except OSError as error:
        log.exception("the system refused")
        _complain(_refused(error))
        return 1
    except Exception as error:  # the last wall before a traceback on the user's screen
        log.exception("the command line met an unexpected error")
        _complain(_own_mistake(error))
        return 1
    finally:
        stop_logging()
    return 0


def open_project(arguments: list[str], window: OpenWindow) -> int:
    """Open the window on a project, or say why that cannot be done."""
    if len(arguments) > 1:
        _say(f"There is no verb {arguments[0]!r}. Try: circuitscope --help")
        return 2
    project = Path(arguments[0]) if arguments else None
    if project is not None and not project.exists():
        _say(f"There is no file {project}.")
        _say(f"Verbs are: {', '.join(sorted(VERBS))}. Try: circuitscope --help")
        return 2
    if not doctors.has_display():
        _say("There is no display, so no window can be opened.")
        _say("Without one, use the verbs: circuitscope --help. Try: circuitscope demo")
        return 2
    try:
        return window(project)
    except CircuitScopeError as error:
        _complain(error)
        return 1


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("circuitscope"))
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Say the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Keep the verbs apart from the window; see the module's text."""
    del show_version


@app.command("import", epilog="Example: circuitscope import graph.json --out dallas.circuitscope")
def import_(
    graph: Annotated[Path, typer.Argument(help="Graph file of Neuronpedia or circuit-tracer.")],
    out: Annotated[Path, typer.Option(help="Project file to add it to; made where missing.")],
    link: Annotated[
        str, typer.Option(help="Neuronpedia link whose pins, groups and labels to take.")
    ] = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Add a published attribution graph to a project."""
    with _session() as session:
        _project_for(session, out)
        job = _done(session, session.import_file(graph), quiet=quiet)
        if link and session.project is not None:
            for remark in take_link(session.project, session.active, link):
                _say(remark)
        circuit = session.circuit
        assert circuit is not None
        saved = _saved(session, out)
    _report(job, circuit, saved, as_json=as_json)


@app.command(
    epilog="Example: circuitscope doctor --json; or of dictionaries: circuitscope doctor "
    "--model ./model --dictionaries ./dictionaries"
)
def doctor(
    as_json: AsJson = False,
    model: Annotated[Path | None, typer.Option(help="Model to check dictionaries on.")] = None,
    dictionaries: Annotated[list[str] | None, typer.Option(help=DICTIONARIES)] = None,
    prompt: Annotated[str, typer.Option(help="Text to check them on.")] = _CHECK_TEXT,
    read_at: Annotated[list[str] | None, setting_option("read_at")] = None,
    quiet: Quiet = False,
) -> None:
    """Say what is installed and what to fix; or how well dictionaries do on a model."""
    if dictionaries:
        if model is None:
            _usage("--dictionaries needs --model, the model to check them on.")
        with _session() as session:
            _done(session, session.load_model(model), quiet=quiet)
            paths = [as_written(text) for text in dictionaries]
            job = session.check_dictionaries(prompt, paths, read_at or [])
            _done(session, job, quiet=quiet)
            checks: Any = job.result
        if as_json:
            _print_json([check.as_json() for check in checks.checks])
        else:
            _print_facts([doctors.fact_of(check) for check in checks.checks])
        return
    facts = doctors.examine()
    if as_json:
        _print_json([asdict(fact) for fact in facts])
    else:
        _print_facts(facts)
    raise typer.Exit(1 if any(fact.state == "bad" for fact in facts) else 0)


@app.command(epilog="Example: circuitscope demo --out ./figures")
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for files, without a display.")] = Path("build"),
    headless: Annotated[bool, typer.Option("--headless", help="Open no window.")] = False,
    quiet: Quiet = False,
) -> None:
    """Open the bundled example; without a display, trace it and write figures."""
    ready = demonstration.ready_project()
    if doctors.has_display() and not headless and ready.is_file():
        raise typer.Exit(context.obj(ready))

    def wait(job: Job) -> Job:
        return _done(session, job, quiet=quiet)

    with _session() as session:
        paths = demonstration.render(session, out, wait, _mute if quiet else _say)
    for path in paths:
        typer.echo(path)


@contextmanager
def _session() -> Iterator[Session]:
    session = Session(InProcessEngine())
    try:
        yield session
    except _UnsavedError as unsaved:
        # The working copy stays, so that the next start offers to recover it.
        session.engine.close()
        raise unsaved.error from None
    except BaseException:
        session.shut_down()
        raise
    session.shut_down()


class _UnsavedError(Exception):
    def __init__(self, error: ProjectError) -> None:
        self.error = error


def _project_for(session: Session, out: Path | None) -> None:
    """Open or start the project that results go to, before any work is done."""
    if out is None:
        session.new_project()
        return
    if not os.access(out.expanduser().absolute().parent, os.W_OK) and out.parent.is_dir():
        raise ProjectError(
            f"The folder {out.absolute().parent} cannot be written to.",
            kept="Nothing was computed and nothing was changed.",
            hint="Choose another folder with --out.",
        )
    if out.exists():
        session.open_project(out)
    else:
        session.new_project(out)


def _saved(session: Session, out: Path | None) -> Path | None:
    if out is None:
        return None
    try:
        return session.save()
    except ProjectError as error:
        kept = "The result is kept; the next start of the window offers to recover it."
        raise _UnsavedError(
            type(error)(error.message, kept=f"{error.kept} {kept}".strip(), hint=error.hint)
        ) from error


def _done(session: Session, job: Job, *, quiet: bool) -> Job:
    """Wait for a job with a progress line; raise what went wrong."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as shown:
        task = shown.add_task(job.title, total=None)

        def tell(job: Job) -> None:
            total = job.total or None
            shown.update(task, description=job.phase or job.title, total=total, completed=job.done)

        job.changed.connect(tell)
        session.jobs.wait(job)
    if job.error is not None:
        raise job.error
    if job.state == "cancelled":
        raise Cancelled
    return job


def _asked(model: Path, device: str, quiet: bool, ask: Callable[[Session], Job]) -> Job:
    """Load a model, ask the engine something about it and wait for the answer."""
    with _session() as session:
        _done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
        return _done(session, ask(session), quiet=quiet)


def _report(job: Job, circuit: Circuit, saved: Path | None, *, as_json: bool) -> None:
    facts = summarise(circuit)
    if as_json:
        project = str(saved) if saved else None
        seconds = round(job.seconds, 3)
        _print_json({"project": project, "circuit": job.result_id, "seconds": seconds, **facts})
        return
    counts = f"{facts['n_nodes']} nodes, {facts['n_edges']} edges, {job.seconds:.1f} s"
    typer.echo(f"“{facts['prompt']}”: {counts}")
    for node in facts["strongest"]:
        typer.echo(f"  {node['influence']:5.2f}  {node['label'] or node['key']}")
    for remark in facts["remarks"]:
        _say(remark)
    if saved is not None:
        typer.echo(saved)


def _print_facts(facts: Sequence[doctors.Fact]) -> None:
    """Print one line for each fact; lines are never broken, so that a fix can be copied."""
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(fact.name) for fact in facts)
    for fact in facts:
        console.print(_STATES[fact.state], escape(f"{fact.name:<{width}}  {fact.value}"))
        if fact.fix:
            console.print(f"{'':{width + 3}} [bold]{escape(fact.fix)}[/]")


def _usage(message: str) -> NoReturn:
    raise typer.BadParameter(message)


def _print_json(data: Any) -> None:
    any_character = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(data, ensure_ascii=not any_character, indent=1))


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _mute(text: str) -> None:
    """Say nothing."""


def _complain(error: CircuitScopeError) -> None:
    for line in (error.message, error.kept or "Nothing was changed.", error.hint):
        if line:
            _say(line)


def _refused(error: OSError) -> CircuitScopeError:
    where = f" ({error.filename})" if error.filename else ""
    return CircuitScopeError(
        f"The system refused to read or write: {error.strerror or error}{where}.",
        kept="Project files are as they were.",
        hint="Make room or choose another place, then run it again.",
    )


def _own_mistake(error: Exception) -> CircuitScopeError:
    return CircuitScopeError(
        f"CircuitScope made a mistake ({type(error).__name__}: {error}).",
        kept="Project files are as they were.",
        hint="The log file has the details; please report it with them.",
    )


_PROJECT = (_project_for, _saved, _report)
add_trace(app, _session, _done, _PROJECT)
add_verbs(app, _asked, _print_json)
file_verbs.add_verbs(app, _session, _print_json)
evidence_verbs.add_verbs(app, _session, _done, _print_json)
feature_verbs.add_verbs(app, _asked, _print_json)
add_decomposition_verbs(app, _asked, _session, _done, _print_json)
add_discovery(app, _session, _done, _PROJECT)
