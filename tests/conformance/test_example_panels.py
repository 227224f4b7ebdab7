"""Every registered panel of an example; and that broken ones never stop the window."""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication, QWidget

from circuitscope.app.application import Application
from circuitscope.app.example_panels import GROUP, ExamplePanel
from circuitscope.core import registry as core_registry
from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.registry import Registry
from circuitscope.engine.client import InProcessEngine
from circuitscope.session.session import Session

PANELS = Registry[ExamplePanel](GROUP).all()
OTHERS = ("the", "capital", "of")
pytestmark = pytest.mark.qt


def circuit_on(tokens: tuple[str, ...]) -> Circuit:
    """Return a circuit with a node of every kind at every token."""
    sites = {NodeKind.TOKEN: Site.EMBED, NodeKind.LOGIT: Site.LOGITS}
    keys = [
        NodeKey(kind, sites.get(kind, Site.MLP_OUT), 0, position, 1)
        for kind in NodeKind for position in range(len(tokens))
    ]  # fmt: skip
    n = len(keys)
    none = np.zeros(0)
    return Circuit(
        tokens, tuple(range(len(tokens))), NodeTable.from_keys(keys),
        EdgeTable(none, none, none, none), np.array([keys.index(keys[-1])]), np.ones(1),
        np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), Provenance("direct"),
    )  # fmt: skip


@pytest.fixture
def start(qapp: QApplication) -> Iterator[Callable[[], Application]]:
    started: list[Application] = []

    def begin() -> Application:
        started.append(Application(qapp, Session(InProcessEngine())))
        started[-1].window.show()
        qapp.processEvents()
        return started[-1]

    yield begin
    for application in started:
        application.finish()
        application.window.hide()
        application.window.deleteLater()
    qapp.processEvents()


def show(application: Application, circuit: Circuit) -> None:
    session = application.session
    project = session.project or session.new_project()
    session.activate(project.add_finding(circuit, "circuit"))
    QApplication.processEvents()
    QApplication.processEvents()


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_knows_its_own_and_no_other(name: str) -> None:
    panel = PANELS[name]
    tokens = tuple(panel.prompt.split())
    assert panel.title
    assert panel.fits({}, tokens)
    panel.check_prompt(panel.prompt)
    assert not panel.fits({}, OTHERS)
    assert not panel.fits({"d_vocab": 50257, "n_ctx": 1024, "name": "gpt2"}, ())
    assert not panel.fits({}, ())
    with pytest.raises(CircuitScopeError) as told:
        panel.check_prompt("a prompt of some other model")
    assert told.value.hint


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_lives_through_every_node_and_every_change(name: str, start) -> None:
    application = start()
    window, session = application.window, application.session
    circuit = circuit_on(tuple(PANELS[name].prompt.split()))
    show(application, circuit)
    dock = window._examples.docks[name]
    assert dock.isVisible()
    for node in range(len(circuit.nodes)):
        session.select([node])
        QApplication.processEvents()
    session.select(range(len(circuit.nodes)))
    show(application, circuit_on(OTHERS))
    assert not dock.isVisible()
    show(application, circuit_on(tuple(PANELS[name].prompt.split())))
    assert dock.isVisible()
    assert dock.widget().accessibleName()
    session.close()
    QApplication.processEvents()
    assert not dock.isVisible()
    assert not window.desk.examples.registry.broken


class Sound:
    """A panel in one file and one registration."""

    title, prompt = "Sound", "the capital of"

    def fits(self, model, tokens) -> bool:
        return tuple(tokens) == OTHERS

    def check_prompt(self, text: str) -> None: ...

    def make(self, desk) -> QWidget:
        return QWidget()


class NoStart(Sound):
    def __init__(self) -> None:
        raise RuntimeError("no start")


class NoFit(Sound):
    def fits(self, model, tokens) -> bool:
        raise RuntimeError("no fit")


class NoPanel(Sound):
    def make(self, desk) -> QWidget:
        raise RuntimeError("no panel")


class NoWidget(Sound):
    def make(self, desk) -> QWidget:
        return None


@pytest.mark.parametrize("kind", [NoStart, NoFit, NoPanel, NoWidget, "nowhere:Nothing"])
def test_a_broken_outside_panel_never_stops_the_window(
    kind: type | str, start, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = kind if isinstance(kind, str) else f"{__name__}:{kind.__name__}"
    entries = [EntryPoint("broken", value, GROUP), EntryPoint("sound", f"{__name__}:Sound", GROUP)]
    monkeypatch.setattr(core_registry, "entry_points", lambda group: entries)
    monkeypatch.setattr(EntryPoint, "load", lambda self: _load(self.value))
    application = start()
    window = application.window
    show(application, circuit_on(OTHERS))
    assert window.session.circuit is not None
    assert window._examples.docks["sound"].isVisible()
    broken = window._examples.docks.get("broken")
    assert broken is None or not broken.isVisible()
    assert window.desk.examples.refusal(None, "the capital of") is None
    application.session.close()


def _load(value: str) -> type:
    name = value.partition(":")[2]
    if name not in globals():
        raise ModuleNotFoundError(value)
    return globals()[name]


def test_two_panels_of_one_name_never_stop_the_window(start, monkeypatch) -> None:
    entries = [EntryPoint("one", "a:A", GROUP), EntryPoint("one", "b:B", GROUP)]
    monkeypatch.setattr(core_registry, "entry_points", lambda group: entries)
    application = start()
    assert not application.window._examples.docks
    show(application, circuit_on(OTHERS))
    application.session.close()
