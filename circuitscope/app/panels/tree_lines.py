"""What the project tree lists: headings, and below each the lines that a project holds."""

from collections.abc import Iterator
from dataclasses import dataclass

from circuitscope.app.naming import name_of_test
from circuitscope.app.words import DOT, plural, tr
from circuitscope.core.badges import Badge
from circuitscope.core.binding import Binding
from circuitscope.graph.evidence import runs_of
from circuitscope.project.findings import FindingInfo
from circuitscope.project.wording import short
from circuitscope.session.session import Session

PROJECT_NOTE = "project"
_OTHERS = {
    "importance": "words by weight", "means": "mean activations, for traces",
    "logit_inspection": "logits by component", "patching_grid": "sweep of activation patching",
    "comparison": "comparison of two circuits", "measurement": "measurement of a circuit",
}  # fmt: skip
_PICTURES = {"importance": "type", "comparison": "git-compare", "measurement": "sliders-horizontal"}
_KINDS = {"grid": "sweep", "ranking": "ranking", "curves": "curves"}
_SIGNS = {
    Badge.SUPPORTED: "check", Badge.CONTRADICTED: "x", Badge.COMPENSATED: "circle-dot",
    Badge.INCONCLUSIVE: "minus",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the tree.

    Attributes:
        kind: "finding", "drawing", "run", "note" or "text" (a note of the whole project); "" for
            a line that stands for nothing.
        id: Of that thing.
        text: What it is called; tip: the rest.
        picture: Name of its icon.
        under: The prompt that a circuit stands below, "" elsewhere.
        renamable: Whether it has a name of its own.
        is_shown: Whether it is on screen.
    """

    kind: str
    id: str
    text: str
    tip: str = ""
    picture: str = ""
    under: str = ""
    renamable: bool = False
    is_shown: bool = False


def sections(session: Session, second: str = "") -> Iterator[tuple[str, list[Line]]]:
    """Yield the headings of the tree with their lines, in order.

    Args:
        session: What is open.
        second: Id of the circuit that is picked for a comparison.
    """
    project = session.project
    if project is None:
        return
    infos = project.findings()
    circuits = [info for info in infos if info.kind == "circuit"]
    yield tr("Prompts"), [_circuit(session, info, second) for info in circuits]
    if session.active:
        yield tr("Drawings"), _drawings(session)
    runs = [_other(info) for info in infos if info.kind != "circuit"]
    yield tr("Runs"), runs + _tests(session)
    yield tr("Notes"), _notes(session)


def _circuit(session: Session, info: FindingInfo, second: str) -> Line:
    size = plural(info.n_nodes, "node", "nodes") + DOT + plural(info.n_edges, "edge", "edges")
    tip, is_shown = f"{info.name}\n{info.method}{DOT}{size}", info.id == session.active
    is_second = info.id == second and not is_shown
    if is_second:
        tip += "\n" + tr("Second circuit of a comparison (Ctrl+Alt+D)")
    elif not is_shown:
        tip += "\n" + tr("Ctrl+click picks it for a comparison with the one on screen")
    return Line(
        "finding", info.id, info.name, tip, "git-compare" if is_second else "route",
        " ".join(info.prompt.split()) or tr("without a prompt"), True, is_shown,
    )  # fmt: skip


def _drawings(session: Session) -> list[Line]:
    infos = session.project.drawings(session.active)
    of = tr("Drawing of {0}").format(session.project.finding(session.active).name)
    return [
        Line("drawing", info.id, info.name, of, "workflow", renamable=True,
             is_shown=info.id == session.active_drawing)
        for info in infos
    ]  # fmt: skip


def _other(info: FindingInfo) -> Line:
    what = tr(_OTHERS.get(info.method, _KINDS.get(info.kind, info.kind)))
    picture = _PICTURES.get(info.method, "layers")
    return Line("finding", info.id, info.name, f"{info.name}\n{what}", picture, renamable=True)


def _tests(session: Session) -> list[Line]:
    if session.drawing is None:
        return []
    return [
        Line("run", run.id, name_of_test(session, run.tested, most=1) + DOT + tr(run.badge.value),
             tr("Test on the model: {0}").format(run.tested.ablation), _SIGNS[run.badge])
        for run in runs_of(session.drawing.rows)
    ]  # fmt: skip


def _notes(session: Session) -> list[Line]:
    rows = session.project.contents.of_kind("text")
    lines = [
        Line("text", name, _plain(str(row["text"])), str(row["text"]), "sticky-note")
        for name, row in rows.items()
    ]
    if session.drawing is None:
        return lines
    return lines + [
        Line("note", name, _plain(str(row["text"])),
             f"{_bound(str(row.get('about', '')))}\n{row['text']}", "sticky-note")
        for name, row in session.drawing.of_kind("note").items()
    ]  # fmt: skip


def _plain(text: str) -> str:
    """Return the beginning of a note without the marks of Markdown."""
    return short(text.replace("*", "").replace("`", "").lstrip("# "), 60)


def _bound(about: str) -> str:
    return {
        "circuit": tr("Note on this drawing"), "node": tr("Note on a node"),
        "group": tr("Note on a group"), "edge": tr("Note on an edge"),
    }[Binding.parse(about).kind]  # fmt: skip
