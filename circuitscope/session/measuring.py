"""Circuits measured over prompts: a job whose report is kept in the project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuitscope.core.errors import ProjectError
from circuitscope.core.finding import Curves
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.engine.evidence import MeasureCircuit
from circuitscope.exchange.measurement_page import measurement_html
from circuitscope.exchange.saving import save_bytes
from circuitscope.project.findings import FindingInfo
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session
from circuitscope.session.trials import dictionary_folders

METHOD = "measurement"


def start_measuring(
    session: Session, pairs: Sequence[PromptPair] = (), *, keep: bool = True, **options: Any
) -> Job:
    """Measure the active circuit; the job's result is `Curves`.

    Args:
        session: Whose circuit and model.
        pairs: Prompts with corrupted partners; none takes the circuit's own prompt.
        keep: Whether the report is stored in the project.
        options: Other fields of `MeasureCircuit`: level, ablation, points, seed.

    Raises:
        ProjectError: No circuit is open.
    """
    circuit, project, active = session.circuit, session.project, session.active
    if circuit is None or project is None or active is None:
        raise ProjectError("No circuit is open.", hint="Open or trace one first.")
    choice = session.model_choice
    folders: tuple[str, ...] = ()
    if circuit.provenance.dictionaries:
        folders = dictionary_folders(circuit, Path(choice.path), session.preferences.now)
    folders = options.pop("dictionaries", folders)
    name = project.finding(active).name
    request = MeasureCircuit(choice, circuit, tuple(pairs), dictionaries=folders, **options)

    def store(job: Job, found: Any) -> None:
        if not keep:
            return
        if session.project is not project:
            raise ProjectError("The project that this was measured for has been closed.")
        job.result_id = project.add_finding(found, f"{name}, measured")

    return session.jobs.add(f"Measure {name}", request, store)


def measurements(session: Session) -> list[FindingInfo]:
    """Return the measurements of the active circuit that are kept, newest first."""
    project, circuit = session.project, session.circuit
    if project is None or circuit is None:
        return []
    found = [info for info in project.findings() if info.method == METHOD]
    own = [info for info in found if _read(session, info).provenance.parent == circuit.digest]
    return list(reversed(own))


def measured_circuit(session: Session, finding_id: str) -> str:
    """Return the id of the circuit that a kept measurement is of.

    Raises:
        ProjectError: It is not in the project any more.
    """
    assert session.project is not None, "measurements are kept in a project"
    found = session.project.read_finding(finding_id)
    for info in session.project.findings():
        if info.kind == "circuit" and info.digest == found.provenance.parent:
            return info.id
    raise ProjectError(
        "The circuit that this was measured on is not in the project any more.",
        kept="The report is kept.", hint="Undo its deletion, then open the report again.",
    )  # fmt: skip


def read_measurement(session: Session, info: FindingInfo) -> Curves:
    """Return a measurement that is kept."""
    return _read(session, info)


def _read(session: Session, info: FindingInfo) -> Curves:
    assert session.project is not None, "measurements are kept in a project"
    found = session.project.read_finding(info.id)
    assert isinstance(found, Curves)
    return found


def save_report(found: Curves, path: Path | str, name: str) -> None:
    """Write the report of a measured circuit as one HTML file.

    Raises:
        ExchangeError: The file cannot be written.
    """
    save_bytes(path, measurement_html(found, name).encode())
