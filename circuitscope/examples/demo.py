"""The demo without a display: the sentence traced anew, drawn as a person drew it."""

from collections.abc import Callable
from pathlib import Path

from circuitscope.core.errors import CircuitScopeError, ProjectError
from circuitscope.core.rows import RowKey
from circuitscope.core.settings import TraceSettings
from circuitscope.core.shipped import shipped_path
from circuitscope.core.target_text import parse_target
from circuitscope.project.edit import change
from circuitscope.project.file import ProjectFile
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session

PROMPT = "the capital of the state containing Dallas is"
TARGET = "logit:Austin"
READY = "capitals.circuitscope"
_NAME = "Dallas"


def ready_project() -> Path:
    """Return the path of the ready project, whether or not it is there."""
    return shipped_path("projects", "atlas", READY)


def render(
    session: Session, out: Path, wait: Callable[[Job], Job], say: Callable[[str], None]
) -> list[Path]:
    """Trace the example's sentence, draw it as in the ready project, save and export.

    Args:
        session: Gets a new project.
        out: Folder for the files, made where missing; those of the last run are replaced.
        wait: Waits for a job and raises what went wrong.
        say: Tells the user what happens.

    Returns:
        The project, the diagram as SVG, PDF and PNG, and the link graph as PNG.

    Raises:
        CircuitScopeError: The example is missing, or a file cannot be written.
    """
    atlas = shipped_path("projects", "atlas")
    if not (atlas / "model").is_dir():
        raise CircuitScopeError(
            f"The bundled example is missing: there is no {atlas / 'model'}.",
            hint="Install CircuitScope again, or make it: python -m circuitscope.examples.atlas",
        )
    _make_folder(out)
    say(f"No window is opened. Tracing “{PROMPT}” → Austin anew ...")
    job = _trace(session, atlas, wait)
    circuit = session.circuit
    assert circuit is not None
    say(
        f"{len(circuit.nodes)} nodes and {len(circuit.edges)} edges in {job.seconds:.1f} s; what "
        f"goes into a node adds up to it, to {circuit.conservation.max():.0e} of its size."
    )
    if (atlas / READY).is_file():
        _draw_as_in(session, atlas / READY)
        say("Groups, names and places are those of the ready project.")
    project, links = out / "dallas.circuitscope", out / "dallas-links.png"
    _save(session, project)
    figures = [out / f"dallas.{suffix}" for suffix in ("svg", "pdf", "png")]
    for path in figures:
        session.export(path)
    session.export(links, what="link")
    return [project, *figures, links]


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CircuitScopeError(
            f"The folder {out} cannot be made: {error.strerror}.",
            kept="Nothing was computed and nothing was changed.",
            hint="Choose another folder with --out.",
        ) from error


def _save(session: Session, path: Path) -> None:
    try:
        session.save_as(path, overwrite=True)
    except ProjectError as error:
        # No working copy is kept of what the next run computes again.
        raise type(error)(
            error.message,
            kept="Files of an earlier run are as they were.",
            hint="Make room, or choose another folder with --out, and run it again.",
        ) from error


def _trace(session: Session, atlas: Path, wait: Callable[[Job], Job]) -> Job:
    folder = atlas / "dictionaries"
    found = (str(folder),) if folder.is_dir() else ()
    settings = TraceSettings(
        PROMPT,
        targets=(parse_target(TARGET),),
        dictionaries=found,
        mlp="transcoder" if found else "secant",
    )
    session.new_project()
    wait(session.load_model(atlas / "model", device="cpu", dtype=settings.dtype))
    return wait(session.trace(settings, _NAME))


def _draw_as_in(session: Session, ready: Path) -> None:
    """Take over the drawing of the ready project; its nodes are found again by their keys."""
    drawing = session.drawing
    assert drawing is not None
    with ProjectFile.open(ready, read_only=True) as file:
        theirs = file.drawing(_NAME).rows
    rows = {RowKey(drawing.circuit_id, key.kind, key.id): row for key, row in theirs.items()}
    drawing.commit(change("Draw as in the ready project", drawing.rows, rows))
