"""The six steps of the tour on the bundled example: what is said, what is shown, what is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QRect
from PySide6.QtWidgets import QTreeWidget, QTreeWidgetItemIterator, QWidget

from circuitscope.app.dialogs.comparison import ComparisonDialog
from circuitscope.app.dialogs.export import ExportDialog
from circuitscope.app.dialogs.trial import TrialDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.circuit_list import CircuitList
from circuitscope.app.start_page import ExampleCard
from circuitscope.app.words import tr
from circuitscope.engine.evidence import CrossTest

PROJECT = "capitals.circuitscope"
TEXAS, CALIFORNIA, ANSWER = "Texas", "California", "Sacramento"

Place = tuple[QWidget, QRect]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        title: In a few words; text: how, with the mouse or the keys.
        place: Where to look: a widget and a part of it; None where nothing can be shown.
        done: Whether the user has done it.
    """

    title: str
    text: str
    place: Callable[[MainWindow], Place | None]
    done: Callable[[MainWindow], bool]


def steps() -> tuple[Step, ...]:
    """Return the six steps in the user's language."""
    return (
        Step(tr("Open the example"),
             tr("Click the picture “{0}”: a model's circuit, ready to look at, no model "
                "loaded.").format(tr("The capital of the state containing Dallas")),
             _card, _is_open),
        Step(tr("Click “Texas”"),
             tr("The prompt never says Texas, but a feature at “Dallas” does. Click it in the "
                "graph, or in the list of the circuit's parts."), _texas, _texas_chosen),
        Step(tr("Swap in California"),
             tr("Press T, or Trace › Try it on the model. Change: replace by another circuit's "
                "group. California is chosen; press Try."), _swap, _swapped),
        Step(tr("See Sacramento"),
             tr("Without Texas, with California: the model now says Sacramento. The first table "
                "has the chances before and after. Close the dialog when you have seen it."),
             _answer, _answer_seen),
        Step(tr("Compare with Oakland"),
             tr("Verify › Compare with…, then Run crosswise: does Dallas’s circuit do Oakland’s "
                "work? It does not. Close the window when you have seen it."),
             _other, _other_seen),
        Step(tr("Export a figure"),
             tr("Ctrl+E, or Export: choose PDF or SVG and save. The figure carries where it "
                "comes from."), _export, _exported),
    )  # fmt: skip


def _whole(widget: QWidget | None) -> Place | None:
    return (widget, widget.rect()) if widget is not None and widget.isVisible() else None


def _card(window: MainWindow) -> Place | None:
    cards = window.findChildren(ExampleCard)
    return _whole(next((card for card in cards if card.path.name == PROJECT), None))


def _is_open(window: MainWindow) -> bool:
    project = window.session.project
    return project is not None and Path(project.path or "").name == PROJECT


def _item(tree: QTreeWidget | None, text: str) -> Place | None:
    if tree is None or not tree.isVisible():
        return None
    walk = QTreeWidgetItemIterator(tree)
    while (item := walk.value()) is not None:
        if item.text(0) == text:
            return tree.viewport(), tree.visualItemRect(item)
        walk += 1
    return None


def _texas(window: MainWindow) -> Place | None:
    return _item(window.findChild(CircuitList), TEXAS) or _whole(window.canvas())


def _texas_chosen(window: MainWindow) -> bool:
    session = window.session
    drawing, keys = session.drawing, session.selected_keys()
    if drawing is None or not keys:
        return False
    groups, members = drawing.of_kind("group"), drawing.of_kind("member")
    named = [groups.get(members[key]["group"], {}).get("label") for key in keys if key in members]
    return len(named) == len(keys) and set(named) == {TEXAS}


def _menu(window: MainWindow, name: str) -> Place | None:
    bar = window.menuBar()
    action = next((found for found in bar.actions() if tr(name) in found.text()), None)
    return (bar, bar.actionGeometry(action)) if action is not None else None


def _trial(window: MainWindow) -> TrialDialog | None:
    dialogs = window.findChildren(TrialDialog)
    return next((dialog for dialog in dialogs if dialog.isVisible()), None)


def _swap(window: MainWindow) -> Place | None:
    dialog = _trial(window)
    if dialog is None:
        return _menu(window, "Trace")
    if dialog.mode.currentData() != "group":
        return _whole(dialog.mode)
    if CALIFORNIA not in dialog.group.currentText():
        return _whole(dialog.group)
    return _whole(dialog.try_button)


def _swapped(window: MainWindow) -> bool:
    dialog = _trial(window)
    return dialog is not None and dialog.found is not None and _first(dialog) == ANSWER


def _first(dialog: TrialDialog) -> str:
    """Return what the changed model says first."""
    shifts = dialog.found.shifts if dialog.found is not None else ()
    return max(shifts, key=lambda shift: shift.after).text.strip() if shifts else ""


def _answer(window: MainWindow) -> Place | None:
    dialog = _trial(window)
    return _whole(dialog.shifts) if dialog is not None else None


def _answer_seen(window: MainWindow) -> bool:
    return _trial(window) is None


def _comparison(window: MainWindow) -> ComparisonDialog | None:
    dialogs = window.findChildren(ComparisonDialog)
    return next((dialog for dialog in dialogs if dialog.isVisible()), None)


def _other(window: MainWindow) -> Place | None:
    dialog = _comparison(window)
    if dialog is None:
        return _menu(window, "Verify")
    if dialog.report is None or dialog.report.transfer is None:
        return _whole(dialog.run_button)
    return _whole(dialog.headline)


def _other_seen(window: MainWindow) -> bool:
    jobs = window.session.jobs.jobs
    ran = any(isinstance(job.request, CrossTest) and job.state == "done" for job in jobs)
    return ran and _comparison(window) is None


def _export(window: MainWindow) -> Place | None:
    dialogs = [found for found in window.findChildren(ExportDialog) if found.isVisible()]
    return _whole(dialogs[0].save_button if dialogs else window.toolbar.export)


def _exported(window: MainWindow) -> bool:
    return window.session.exported is not None
