"""Figures and graph files; baselines are the promises."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from circuitscope.exchange.figure import Curves, Figure, Layer
from circuitscope.exchange.figures import link_figure
from circuitscope.exchange.format import Document, export
from circuitscope.exchange.vector import svg_text
from tests.bench.project import circuit_of_size

N_NODES, N_EDGES = 2_000, 50_000


def _seconds(act: Callable[[], Any]) -> float:
    """Return the least seconds of three calls."""
    found = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        found.append(time.perf_counter() - start)
    return min(found)


def _row(name: str, value: float, limit: float | None) -> dict[str, Any]:
    ratio = value / limit if limit else None
    return {"name": name, "value": value, "unit": "s", "baseline": limit, "ratio": ratio}


def _every_edge() -> Figure:
    rng = np.random.default_rng(0)
    curves = Curves(
        rng.random((N_EDGES, 4, 2)).astype(np.float32) * 500, np.arange(N_EDGES, dtype=np.int32),
        np.sort(rng.integers(1, 6, N_EDGES)).astype(np.float32), np.zeros(N_EDGES, np.uint8),
        np.zeros(N_EDGES, bool), np.zeros(N_EDGES, np.float32), ("#2B6CB0",),
    )  # fmt: skip
    return Figure(500, 500, (Layer("edges", curves=curves),))


def run() -> list[dict[str, Any]]:
    """Measure a large circuit as a figure and as each graph file."""
    circuit = circuit_of_size(np.random.default_rng(0), N_NODES, N_EDGES)
    figure = _every_edge()
    rows = [
        _row("exchange: 50 000 curves to SVG", _seconds(lambda: svg_text(figure)), 1.0),
        _row(
            "exchange: 2 000 nodes, 50 000 edges, drawn and to SVG",
            _seconds(lambda: svg_text(link_figure(circuit, {}))), 1.0,
        ),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".json", ".graphml", ".gexf", ".dot", ".csv"):
            path = Path(folder) / f"x{suffix}"
            seconds = _seconds(lambda path=path: export(Document(circuit), path))
            rows.append(_row(f"exchange: 50 000 edges to {suffix}", seconds, None))
    return rows
