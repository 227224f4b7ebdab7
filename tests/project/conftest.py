"""Projects on disk and what tests of them share."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.circuit import (
    CIRCUIT_COLUMNS,
    EDGE_COLUMNS,
    NODE_COLUMNS,
    Circuit,
)
from circuitscope.project.drawing import Drawing
from circuitscope.project.file import ProjectFile


@pytest.fixture(autouse=True)
def nothing_left_behind(state_home: Path) -> Iterator[None]:
    """Fail a test that leaves a session or a lock without saying so."""
    yield
    folders = [state_home / name for name in ("sessions", "locks")]
    left = [path.name for folder in folders if folder.exists() for path in folder.iterdir()]
    assert not left, f"the test left {left}"


@pytest.fixture
def document(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, small_circuit: Circuit
) -> Path:
    """Return a saved project with one circuit, "Dallas"."""
    template = tmp_path_factory.getbasetemp() / "template.circuitscope"
    if not template.exists():
        with ProjectFile.create(template) as project:
            project.add_finding(small_circuit, "Dallas")
            project.save()
    path = tmp_path / "work" / "dallas.circuitscope"
    path.parent.mkdir()
    shutil.copyfile(template, path)
    return path


@pytest.fixture
def project(document: Path) -> Iterator[ProjectFile]:
    """Return that project, open."""
    with ProjectFile.open(document) as opened:
        yield opened


@pytest.fixture
def drawing(project: ProjectFile) -> Drawing:
    """Return the drawing of its circuit."""
    return project.drawing("Dallas")


@pytest.fixture
def same_circuit() -> Callable[[Circuit, Circuit], None]:
    """Return a check that two circuits hold the same."""

    def check(a: Circuit, b: Circuit) -> None:
        for left, right, columns in (
            (a.nodes, b.nodes, NODE_COLUMNS),
            (a.edges, b.edges, EDGE_COLUMNS),
            (a, b, CIRCUIT_COLUMNS),
        ):
            for name, dtype in columns.items():
                assert getattr(left, name).dtype == dtype
                np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        for name in ("tokens", "token_ids", "labels"):
            assert getattr(a, name) == getattr(b, name)
        for item in fields(a.provenance):
            assert getattr(a.provenance, item.name) == getattr(b.provenance, item.name)

    return check


@pytest.fixture
def tamper() -> Callable[..., None]:
    """Return a function that runs SQL on a file, as another program would."""

    def run(path: Path, *statements: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return run
