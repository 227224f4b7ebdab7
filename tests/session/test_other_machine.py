"""Traced on a server by the command line, opened on a laptop that has no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from circuitscope.project.file import ProjectFile

# What an environment without the engine's packages answers to any import of them.
_LAPTOP = """
import sys

ENGINE = ("torch", "transformers", "safetensors", "tokenizers", "psutil")

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ENGINE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, NotInstalled())
"""
_OPEN = """
from pathlib import Path
import circuitscope as cs
from circuitscope.cli import run

file, folder = sys.argv[1], Path(sys.argv[2])
with cs.open_project(file, read_only=True) as project:
    circuit = project.circuits()["Austin"]
    assert float(circuit.conservation.max()) < 1e-4
    assert cs.prune(circuit).node_mask.any()
    assert cs.scores(circuit)["error_share"] >= 0
    cs.export(project, folder / "figure.svg", circuit="Austin")
assert run(["check", file], lambda path: 0) in (0, None)
"""
_WINDOW = """
from PySide6.QtWidgets import QApplication
from circuitscope.app.application import Application
from circuitscope.engine.client import InProcessEngine
from circuitscope.session.session import Session

app = QApplication([])
app.setStyle("Fusion")
started = Application(app, Session(InProcessEngine()))
started.window.show()
started.window.open_path(sys.argv[1])
app.processEvents()
assert started.session.circuit is not None
job = started.session.load_model(sys.argv[2])
started.session.jobs.wait(job)
assert job.state == "failed"
assert "circuitscope[engine]" in job.error.hint, job.error
started.finish()
"""


@pytest.fixture
def traced(tiny_llama: Path, tmp_path: Path) -> Path:
    """Return what the server's command line wrote."""
    from circuitscope.cli import run

    out = tmp_path / "traced.circuitscope"
    words = ["trace", str(tiny_llama), "the capital of state containing Dallas is", "--target",
             "logit:Austin", "--max-nodes", "40", "--name", "Austin", "--device", "cpu",
             "--quiet", "--out", str(out)]  # fmt: skip
    assert run(words, lambda path: 0) == 0
    return out


def on_the_laptop(code: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LAPTOP + code, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_traced_file_opens_checks_and_exports_without_torch(traced: Path, tmp_path: Path) -> None:
    on_the_laptop(_OPEN, traced, tmp_path)
    assert "<svg" in (tmp_path / "figure.svg").read_text("utf-8")
    with ProjectFile.open(traced) as project:
        assert [info.name for info in project.findings()] == ["Austin"]


def test_the_window_shows_it_without_torch_and_says_what_a_trace_would_need(
    traced: Path, tiny_llama: Path
) -> None:
    on_the_laptop(_WINDOW, traced, tiny_llama)
