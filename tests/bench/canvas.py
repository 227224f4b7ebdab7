"""Both canvases under the raster painter at 1400 x 900; baselines are the promises.

The link graph shows 10 000 nodes and 200 000 edges, of which it draws the strongest 20 000; the
circuit view shows 1 000 pinned nodes. A frame is what one event costs until the widget has
painted. The last rows are steps of a real window's event loop: while the atlas model is traced in
the engine process, and when another circuit is chosen.
"""

import gc
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QSize, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget

from circuitscope.app.application import Application
from circuitscope.app.canvas.circuit_view import CircuitView
from circuitscope.app.canvas.link_graph import LinkGraphView
from circuitscope.app.theme import LIGHT
from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.settings import TraceSettings
from circuitscope.core.shipped import shipped_path
from circuitscope.engine.client import InProcessEngine, ProcessEngine
from circuitscope.project import verbs
from circuitscope.session.session import Session

NODES, EDGES, BOXES = 10_000, 200_000, 1_000
SIZE = QSize(1400, 900)
_LAYERS, _TOKENS = 24, 12
_LEFT = Qt.MouseButton.LeftButton


def layered_circuit(n_nodes: int, n_edges: int) -> Circuit:
    """Return random features whose edges run upwards and end in one logit."""
    rng = np.random.default_rng(0)
    n_features = n_nodes - _TOKENS - 1
    layer = np.sort(rng.integers(0, _LAYERS, n_features))
    position = rng.integers(0, _TOKENS, n_features)
    keys = [NodeKey(NodeKind.TOKEN, Site.EMBED, -1, pos, pos) for pos in range(_TOKENS)]
    keys += [
        NodeKey(NodeKind.FEATURE, Site.MLP_OUT, int(at), int(pos), unit)
        for unit, (at, pos) in enumerate(zip(layer, position, strict=True))
    ]
    keys.append(NodeKey(NodeKind.LOGIT, Site.RESID_POST, _LAYERS, _TOKENS - 1, 7))
    height = np.concatenate([np.full(_TOKENS, -1), layer, [_LAYERS]])
    ends = rng.integers(0, n_nodes, (4 * n_edges, 2))
    ends = ends[height[ends[:, 0]] < height[ends[:, 1]]][: n_edges - 2 * n_features]
    # Every feature is fed by a token and feeds the logit, or pruning would drop it.
    features = np.arange(_TOKENS, n_nodes - 1)
    first = np.stack([position, features], axis=1)
    last = np.stack([features, np.full(n_features, n_nodes - 1)], axis=1)
    ends = np.concatenate([ends, first, last])
    ends = ends[np.argsort(ends[:, 1], kind="stable")]
    weight = rng.normal(size=len(ends)).astype(np.float32)
    zeros = np.zeros(n_nodes)
    return Circuit(
        tuple(f"token {i}" for i in range(_TOKENS)), tuple(range(_TOKENS)),
        NodeTable.from_keys(keys, rng.normal(size=n_nodes), rng.random(n_nodes)),
        EdgeTable(ends[:, 0], ends[:, 1], weight, np.zeros(len(ends))),
        np.array([n_nodes - 1]), np.array([1.0]), rng.normal(size=n_nodes), zeros, zeros,
        np.ones(n_nodes, bool), Provenance("direct", settings={"prompt": "x"}),
        tuple(f"feature {i}" for i in range(n_nodes)),
    )  # fmt: skip


def run() -> list[dict[str, Any]]:
    """Measure frames and steps of the event loop."""
    app = QApplication.instance() or QApplication([])
    with _home():
        session = Session(InProcessEngine())
        circuit = layered_circuit(NODES, EDGES)
        project = session.new_project()
        large = project.add_finding(circuit, "large")
        rows = [*_link_graph(app, session, large), *_diagram(app, session, circuit)]
        session.shut_down()
        rows += _window(app)
    return rows


@contextmanager
def _home() -> Iterator[None]:
    before = os.environ.get("CIRCUITSCOPE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CIRCUITSCOPE_HOME"] = folder
        try:
            yield
        finally:
            os.environ.pop("CIRCUITSCOPE_HOME")
            if before is not None:
                os.environ["CIRCUITSCOPE_HOME"] = before


def _row(name: str, value: float, unit: str, limit: float) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "baseline": limit, "ratio": value / limit}


def _median_ms(act: Callable[[int], object], view: QWidget, times: int = 30) -> float:
    """Return the median time of something and the frame that shows it."""
    found = []
    for number in range(times):
        start = time.perf_counter()
        act(number)
        view.repaint()
        found.append(time.perf_counter() - start)
    return 1000 * statistics.median(found)


def _send(view: QWidget, kind: QEvent.Type, at: QPointF, *, held: bool = True) -> None:
    button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else _LEFT
    released = kind == QEvent.Type.MouseButtonRelease or not held
    buttons = Qt.MouseButton.NoButton if released else _LEFT
    none = Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(view, QMouseEvent(kind, at, at, button, buttons, none))


def _drag_ms(view: QWidget, start: QPointF) -> tuple[float, float]:
    """Return the median time of a frame of a drag, and the seconds that letting go takes."""
    _send(view, QEvent.Type.MouseButtonPress, start)
    _send(view, QEvent.Type.MouseMove, start + QPointF(9, 9))
    view.repaint()
    step = QPointF(7, 5)
    found = _median_ms(
        lambda n: _send(view, QEvent.Type.MouseMove, start + (n + 2) * step), view
    )  # fmt: skip
    drop = _timed(lambda: _send(view, QEvent.Type.MouseButtonRelease, start + 33 * step))
    return found, drop


def _link_graph(app: QApplication, session: Session, large: str) -> list[dict[str, Any]]:
    view = LinkGraphView(session, LIGHT)
    view.resize(SIZE)
    view.show()
    app.processEvents()
    session.activate(large)
    session.set_view(node_threshold=1.0, edge_threshold=1.0)
    session.activate("")
    start = time.perf_counter()
    session.activate(large)
    steps = []
    while not view.is_complete:
        begun = time.perf_counter()
        app.processEvents()
        steps.append(time.perf_counter() - begun)
    painted = time.perf_counter() - start
    assert view.scene is not None
    assert len(view.scene.shown) == NODES

    pan = _median_ms(lambda _: view.look(view.camera.panned(3, 2)), view)
    zoom = _median_ms(lambda n: view.zoom(1.04 if n % 2 else 1 / 1.04), view)
    drag, _ = _drag_ms(view, QPointF(300, 300))
    session.select([])
    rng = np.random.default_rng(1)
    places = rng.random((30, 2)) * (SIZE.width() - 200, SIZE.height() - 200) + 100
    hover = statistics.median(
        _timed(lambda at=at: view.node_at(QPointF(*at))) for at in places
    )  # fmt: skip
    steps_of = np.linspace(0.3, 0.9, 20)
    threshold = _median_ms(
        lambda n: session.set_view(node_threshold=float(steps_of[n])), view, len(steps_of)
    )
    view.deleteLater()
    return [
        _row("canvas.first_paint_s", painted, "s", 1.0),
        _row("canvas.paint_step_ms", 1000 * max(steps, default=0.0), "ms", 50.0),
        _row("canvas.pan_ms", pan, "ms", 16.0),
        _row("canvas.zoom_ms", zoom, "ms", 25.0),
        _row("canvas.drag_ms", drag, "ms", 16.0),
        _row("canvas.hover_ms", 1000 * hover, "ms", 5.0),
        _row("canvas.threshold_step_ms", threshold, "ms", 50.0),
    ]


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _diagram(app: QApplication, session: Session, circuit: Circuit) -> list[dict[str, Any]]:
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # views of the parts before
    gc.freeze()  # as the program does once its window is up
    pinned = [str(circuit.nodes.key(i)) for i in range(0, NODES, NODES // BOXES)]
    session.edit(verbs.pin, pinned)
    view = CircuitView(session, LIGHT)
    view.resize(SIZE)
    start = time.perf_counter()
    view.show()
    opening = [time.perf_counter() - start, *_steps(app, lambda: view.is_complete, 60)]
    opened = time.perf_counter() - start
    faces = [view.middle_of(box) for box in range(0, BOXES, BOXES // 30)]
    view.repaint()
    hover = _median_ms(
        lambda n: _send(view, QEvent.Type.MouseMove, faces[n % len(faces)], held=False), view
    )
    session.select([0])
    alone, drop = _drag_ms(view, view.middle_of(0))
    dropping = [drop, *_steps(app, lambda: view.is_complete, 60)]
    session.select(range(0, NODES, NODES // BOXES))
    everything, _ = _drag_ms(view, view.middle_of(0))
    view.deleteLater()
    return [
        _row("canvas.circuit_open_s", opened, "s", 2.0),
        _row("canvas.circuit_open_step_ms", 1000 * max(opening), "ms", 50.0),
        _row("canvas.circuit_hover_ms", hover, "ms", 5.0),
        _row("canvas.circuit_drag_ms", alone, "ms", 16.0),
        _row("canvas.circuit_drag_all_ms", everything, "ms", 16.0),
        _row("canvas.circuit_drop_step_ms", 1000 * max(dropping), "ms", 50.0),
    ]


def _window(app: QApplication) -> list[dict[str, Any]]:
    """Measure the longest step of a real window's event loop: switching, and during a trace."""
    folder = shipped_path("projects", "atlas")
    application = Application(app, Session(ProcessEngine()))
    window = application.window
    window.resize(1440, 900)
    window.show()
    session = window.session
    copy = shutil.copy(folder / "capitals.circuitscope", os.environ["CIRCUITSCOPE_HOME"])
    session.open_project(copy)
    _steps(app, lambda: False, 1.0)
    first, second = (f.id for f in session.project.findings()[:2])
    longest = []
    for number in range(6):
        start = time.perf_counter()
        session.activate(second if number % 2 == 0 else first)
        taken = time.perf_counter() - start
        longest.append(max(taken, *_steps(app, lambda: False, 0.4)))
    shown = np.flatnonzero(session.shown().nodes)
    selecting = []
    for node in shown[:: max(len(shown) // 20, 1)].tolist():
        start = time.perf_counter()
        session.select([node])
        taken = time.perf_counter() - start
        selecting.append(max(taken, *_steps(app, lambda: False, 0.2)))
    session.load_model(folder / "model")
    _steps(app, lambda: session.model.state == "ready", 60)
    dictionaries = sorted(map(str, (folder / "dictionaries").glob("*_out_?")))
    prompt = "the capital of the state containing Dallas is"
    settings = TraceSettings(prompt=prompt, dictionaries=tuple(dictionaries))
    job = session.trace(settings)
    steps = _steps(app, lambda: job.is_over, 120)
    assert job.state == "done", job.error
    application.finish()
    window.hide()
    return [
        _row("canvas.switch_ms", 1000 * statistics.median(longest[2:]), "ms", 50.0),
        _row("canvas.select_step_ms", 1000 * statistics.median(selecting), "ms", 20.0),
        _row("canvas.trace_step_ms", 1000 * max(steps), "ms", 50.0),
    ]


def _steps(app: QApplication, is_over: Callable[[], bool], most: float) -> list[float]:
    """Turn the event loop and return how long each turn took."""
    end, found = time.perf_counter() + most, [0.0]
    while not is_over() and time.perf_counter() < end:
        begun = time.perf_counter()
        app.processEvents()
        found.append(time.perf_counter() - begun)
        time.sleep(0.001)
    return found
