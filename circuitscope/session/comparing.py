"""Two circuits of a project compared: read, tested on the model, kept and exported."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import circuitscope
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CannotExpress, ProjectError
from circuitscope.core.finding import Grid, Provenance
from circuitscope.core.settings import TraceSettings
from circuitscope.core.transfer import METHOD, Chosen, Transfer, as_finding, of_finding
from circuitscope.engine.evidence import CrossTest
from circuitscope.engine.requests import Trace
from circuitscope.exchange.comparison import ComparisonReport, overlay_figure
from circuitscope.exchange.comparison_table import comparison_csv, comparison_markdown
from circuitscope.exchange.format import Document, WriteOptions, format_of
from circuitscope.exchange.saving import save_bytes
from circuitscope.exchange.theme import preset_named
from circuitscope.graph.compare import WHERES, Alignment, Comparison, Where, compare
from circuitscope.graph.overlay import BETWEEN
from circuitscope.project.file import ProjectFile
from circuitscope.project.findings import FindingInfo
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session
from circuitscope.session.showing import label_of
from circuitscope.session.trials import dictionary_folders

SUFFIXES = (".svg", ".pdf", ".png", ".html", ".tex", ".csv", ".md")


def circuits_of(session: Session) -> list[FindingInfo]:
    """Return the circuits that can be compared."""
    project = session.project
    found = [] if project is None else project.findings()
    return [info for info in found if info.kind == "circuit"]


def report_of(
    project: ProjectFile, chosen: Chosen, transfer: Transfer | None = None
) -> ComparisonReport:
    """Align two circuits of a project, beside the noise floor where one is named.

    Raises:
        ProjectError: The project has no such circuit.
    """
    infos = [project.finding(which) for which in (chosen.a, chosen.b, chosen.floor) if which]
    a, b, *floor = (project.circuit(info.id) for info in infos)
    align: Any = chosen.align

    def against(other: Circuit) -> Comparison:
        return compare(a, other, align, chosen.node_threshold, chosen.edge_threshold)

    found = against(b)
    return ComparisonReport(
        a, b, tuple(info.name for info in infos), found,
        _labels(project, (a, b), (infos[0].id, infos[1].id), found),
        against(floor[0]) if floor else None, transfer,
    )  # fmt: skip


def _labels(
    project: ProjectFile, circuits: tuple[Circuit, Circuit], ids: tuple[str, str], found: Comparison
) -> tuple[str, ...]:
    """Return what each compared node is called, in both circuits where the names differ."""
    rows = [project.drawing(which).rows for which in ids]
    labels = []
    for pair in found.nodes:
        names = [
            label_of(circuit, rows[side], ids[side], node)
            for side, (circuit, node) in enumerate(zip(circuits, (pair.a, pair.b), strict=True))
            if node >= 0
        ]
        labels.append(BETWEEN.join(dict.fromkeys(names)))
    return tuple(labels)


def start_cross_test(session: Session, chosen: Chosen, dictionaries: tuple[str, ...] = ()) -> Job:
    """Run both circuits on each other's prompts; the job's result is a `Transfer`.

    Args:
        session: Whose circuits and model.
        chosen: What is compared.
        dictionaries: Folders; left out, those of the traces and around the model.

    Raises:
        CircuitScopeError: No model is chosen, or a circuit is gone.
    """
    project, choice = _project(session), session.model_choice
    infos = [project.finding(which) for which in (chosen.a, chosen.b, chosen.floor) if which]
    circuits = tuple(project.circuit(info.id) for info in infos)
    folders = dict.fromkeys(dictionaries)
    for circuit in circuits:
        if circuit.provenance.dictionaries and not dictionaries:
            found = dictionary_folders(circuit, Path(choice.path), session.preferences.now)
            folders |= dict.fromkeys(found)
    align: Alignment = "end" if chosen.align == "end" else "edit"
    request = CrossTest(
        choice, circuits, tuple(info.name for info in infos), align, chosen.node_threshold,
        tuple(folders),
    )  # fmt: skip
    return session.jobs.add(f"Run {infos[0].name} and {infos[1].name} crosswise", request)


def start_floor(session: Session, circuit_id: str) -> Job:
    """Trace a circuit's prompt again on half its nodes as budget; `Job.result_id` is the circuit.

    It is added to the project; the one on screen stays there.

    Raises:
        CircuitScopeError: No model is chosen, or the circuit was not traced here.
    """
    project = _project(session)
    circuit, name = project.circuit(circuit_id), project.finding(circuit_id).name
    record = circuit.provenance.settings
    if "targets" not in record:
        raise ProjectError(
            f"“{name}” was not traced here, so it cannot be traced again.",
            kept="The project is unchanged.", hint="Name another circuit as noise floor.",
        )  # fmt: skip
    choice = session.model_choice
    settings = replace(
        TraceSettings.from_json(record), prompt=circuit.token_ids,
        max_nodes=max(len(circuit.nodes) // 2, 16),
    )  # fmt: skip
    if settings.dictionaries and not all(Path(one).exists() for one in settings.dictionaries):
        around = dictionary_folders(circuit, Path(choice.path), session.preferences.now)
        settings = replace(settings, dictionaries=around or settings.dictionaries)

    def store(job: Job, traced: Any) -> None:
        if session.project is not project:
            raise ProjectError("The project that this was traced for has been closed.")
        job.result_id = project.add_finding(traced, f"{name}, budget {settings.max_nodes}")
        job.result = None

    return session.jobs.add(f"Trace {name} again", Trace(choice, settings), store)


def keep(project: ProjectFile, chosen: Chosen, report: ComparisonReport) -> str:
    """Keep a comparison in the project.

    Args:
        project: Holds both circuits.
        chosen: What is compared.
        report: What was found.

    Returns:
        Its id.
    """
    name = f"{report.names[0]} against {report.names[1]}"
    scores = report.found.overlap()
    if report.floor is not None:
        scores |= {f"floor_{what}": share for what, share in report.floor.overlap().items()}
    found = report.a.provenance
    record = Provenance(
        METHOD, circuitscope.__version__, model=found.model, dtype=found.dtype,
        started=datetime.now(UTC).isoformat(timespec="seconds"), parent=report.a.digest,
        remarks=report.transfer.remarks if report.transfer is not None else (),
    )  # fmt: skip
    return project.add_finding(
        as_finding(chosen, report.names, scores, report.transfer, record), name
    )


def comparisons(session: Session) -> list[FindingInfo]:
    """Return the comparisons that the project keeps, newest first."""
    project = session.project
    found = [] if project is None else project.findings()
    return [info for info in reversed(found) if info.method == METHOD]


def read_kept(session: Session, finding_id: str) -> tuple[Chosen, ComparisonReport]:
    """Return a kept comparison, its circuits aligned anew.

    Raises:
        ProjectError: One of its circuits is gone.
    """
    grid = _project(session).read_finding(finding_id)
    assert isinstance(grid, Grid), "comparisons are kept as grids"
    chosen, _, transfer = of_finding(grid)
    return chosen, report_of(_project(session), chosen, transfer)


def circuits_in(path: Path | str) -> list[str]:
    """Return the names of the circuits in another project's file."""
    with ProjectFile.open(path, read_only=True) as other:
        return list(other.circuits())


def bring(session: Session, path: Path | str, name: str) -> str:
    """Copy a circuit of another project's file, with its drawing, into this one; return its id."""
    project = _project(session)
    with ProjectFile.open(path, read_only=True) as other:
        circuit = other.circuits()[name]
    return project.add_finding(circuit, f"{name} ({Path(path).stem})")


def export_comparison(
    report: ComparisonReport,
    path: Path | str,
    preset: str = "screen",
    shown: tuple[Where, ...] = WHERES,
    dpi: int = 300,
) -> tuple[str, ...]:
    """Write a comparison: a figure, or a table where the suffix is .csv or .md.

    Args:
        report: What is compared.
        path: Where to.
        preset: Size of the figure, see `exchange.theme.PRESETS`.
        shown: Classes that are drawn.
        dpi: Dots per inch of raster files.

    Returns:
        What the user should know about the figure.

    Raises:
        ExchangeError: No format has that suffix, or the file cannot be written.
    """
    target = Path(path)
    texts = {".csv": comparison_csv, ".md": comparison_markdown}
    if (written := texts.get(target.suffix.lower())) is not None:
        save_bytes(target, written(report).encode())
        return ()
    chosen = format_of(target)
    if not chosen.draws:
        raise CannotExpress(
            f"A comparison has no place in files ending in {target.suffix!r}.",
            kept="Nothing was written.", hint=f"Suffixes: {', '.join(SUFFIXES)}.",
        )  # fmt: skip
    figure = overlay_figure(report, preset_named(preset), shown=shown)
    chosen.write(Document(report.a, figure=figure), target, WriteOptions(dpi))
    return figure.warnings


def _project(session: Session) -> ProjectFile:
    if session.project is None:
        raise ProjectError("No project is open.", hint="Open one with two circuits.")
    return session.project
