"""Project files: 200 circuits of 1 000 nodes and 20 000 edges; baselines are the promises."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.project import verbs
from circuitscope.project.file import ProjectFile

N_CIRCUITS, N_NODES, N_EDGES = 200, 1_000, 20_000


def circuit_of_size(rng: np.random.Generator, n_nodes: int, n_edges: int) -> Circuit:
    """Return a circuit of random numbers."""
    layers, positions = rng.integers(0, 24, n_nodes), rng.integers(0, 12, n_nodes)
    keys = [
        NodeKey(NodeKind.FEATURE, Site.MLP_OUT, int(layer), int(position), unit)
        for unit, (layer, position) in enumerate(zip(layers, positions, strict=True))
    ]
    edges = EdgeTable(
        rng.integers(0, n_nodes, n_edges), rng.integers(0, n_nodes, n_edges),
        rng.normal(size=n_edges), np.zeros(n_edges),
    )  # fmt: skip
    return Circuit(
        tuple(f"token {i}" for i in range(12)), tuple(range(12)),
        NodeTable.from_keys(keys, rng.normal(size=n_nodes), rng.random(n_nodes)), edges,
        np.array([0]), np.array([1.0]), rng.normal(size=n_nodes), rng.normal(size=n_nodes),
        np.zeros(n_nodes), np.ones(n_nodes, bool), Provenance("direct", settings={"prompt": "x"}),
        tuple(f"on token {i % 12} → word{i % 97}, word{i % 89}" for i in range(n_nodes)),
    )  # fmt: skip


def _times(act: Callable[[], Any], n: int) -> float:
    """Return the median seconds of n calls."""
    found = []
    for _ in range(n):
        start = time.perf_counter()
        act()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def _row(name: str, value: float, unit: str, limit: float) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "baseline": limit, "ratio": value / limit}


def run() -> list[dict[str, Any]]:
    """Measure opening, reading, editing and saving."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("CIRCUITSCOPE_HOME")
        os.environ["CIRCUITSCOPE_HOME"] = str(Path(folder) / "home")
        try:
            return _measure(Path(folder) / "large.circuitscope")
        finally:
            os.environ.pop("CIRCUITSCOPE_HOME")
            if before is not None:
                os.environ["CIRCUITSCOPE_HOME"] = before


def _measure(path: Path) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    circuits = [circuit_of_size(rng, N_NODES, N_EDGES) for _ in range(8)]
    with ProjectFile.create(path) as project:
        for place in range(N_CIRCUITS):
            project.add(circuits[place % len(circuits)], f"circuit {place}")
        project.save()
    size = path.stat().st_size / 1e6

    def open_it() -> None:
        ProjectFile.open(path).close()

    opened = _times(open_it, 7)
    with ProjectFile.open(path) as project:
        ids = iter([info.id for info in project.findings()])
        read = _times(lambda: project.circuit(next(ids)), 50)
        drawing = project.drawing("circuit 0")
        keys = [str(circuits[0].nodes.key(i)) for i in range(N_NODES)]
        one = iter(keys)
        edited = _times(lambda: drawing.pin(next(one)), 200)
        undone = _times(drawing.undo, 100)
        shift = iter(range(20))

        def place_all() -> None:
            x = next(shift)
            drawing.commit(verbs.place(drawing, {key: (x, i) for i, key in enumerate(keys)}))

        moved = _times(place_all, 20)
        added = _times(lambda: project.add(circuits[0], "more"), 20)
        saved = _times(project.save, 5)
    return [
        _row("project: open 200 circuits", opened, "s", 0.3),
        _row("project: size of 200 circuits", size, "MB", 30.0),
        _row("project: read a circuit", read * 1e3, "ms", 10.0),
        _row("project: commit an edit of 1 row", edited * 1e3, "ms", 5.0),
        _row("project: undo an edit of 1 row", undone * 1e3, "ms", 5.0),
        _row("project: commit an edit of 1000 rows", moved * 1e3, "ms", 50.0),
        _row("project: add a circuit", added * 1e3, "ms", 50.0),
        _row("project: save 200 circuits", saved, "s", 0.5),
    ]
