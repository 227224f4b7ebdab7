"""Circuits in notebooks: their picture in the page, and the window beside it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from circuitscope.core.circuit import Circuit
from circuitscope.core.places import state_home
from circuitscope.project.file import ProjectFile
from circuitscope.session.work import export_circuit

_FOLDER = "notebook"
_WINDOWS: list[subprocess.Popen[bytes]] = []
"""Held, because a process that is forgotten while it runs raises a warning."""


class NotebookViewer:
    """Draw circuits as the exporter does, and open them as any project."""

    def svg(self, circuit: Circuit) -> str:
        """Return the circuit's link graph, as `export` writes it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "circuit.svg"
            export_circuit(circuit, {}, path)
            return path.read_text("utf-8")

    def open(self, circuit: Circuit) -> None:
        """Save a project of this circuit alone below the state folder, and start the window on it.

        The same circuit opens the same project again, with what was drawn in it.
        """
        command = [sys.executable, "-m", "circuitscope", str(project_for(circuit))]
        _WINDOWS.append(subprocess.Popen(command, start_new_session=True))


def project_for(circuit: Circuit) -> Path:
    """Return the project file in which a notebook's circuit is opened; made when missing."""
    folder = state_home() / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{circuit.digest[:16]}.circuitscope"
    if not path.exists():
        with ProjectFile.create(path) as project:
            project.add(circuit, circuit.prompt[:60] or "circuit")
            project.save()
    return path
