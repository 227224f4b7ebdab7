"""A session that works in this process, and one over a project with one circuit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.engine.client import InProcessEngine
from circuitscope.session.session import Session


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session(InProcessEngine())
    yield session
    session.shut_down()


@pytest.fixture
def drawn(session: Session, small_circuit: Circuit, tmp_path: Path) -> Session:
    """Return a session whose saved project holds the small circuit, active."""
    project = session.new_project(tmp_path / "dallas.circuitscope")
    session.activate(project.add_finding(small_circuit, "Dallas"))
    session.save()
    return session
