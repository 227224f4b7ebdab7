"""Circuits in notebooks: a picture, and a window on a project of their own."""

import subprocess
import sys

import pytest

from circuitscope import api
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.viewing import SOCKET
from circuitscope.project.file import ProjectFile
from circuitscope.session.notebook import project_for


def test_a_notebook_gets_the_figure_that_export_writes(small_circuit: Circuit, tmp_path) -> None:
    api.export(small_circuit, tmp_path / "figure.svg")
    assert small_circuit._repr_svg_() == (tmp_path / "figure.svg").read_text("utf-8")


def test_open_starts_the_window_on_a_project_of_the_circuit(small_circuit, monkeypatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    small_circuit.open()
    path = project_for(small_circuit)
    assert started == [[sys.executable, "-m", "circuitscope", str(path)]]
    with ProjectFile.open(path) as project:
        assert project.circuits()[small_circuit.prompt].digest == small_circuit.digest


def test_without_a_viewer_circuits_stay_text(small_circuit, monkeypatch) -> None:
    monkeypatch.setattr(SOCKET, "viewer", None)
    assert small_circuit._repr_svg_() is None
    with pytest.raises(CircuitScopeError, match="no window"):
        small_circuit.open()
