"""Weighing words in the window: asked, marked, kept in the project, opened again."""

from collections.abc import Callable

from PySide6.QtCore import Qt

from circuitscope.app.dialogs.importance import ImportanceDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.project_tree import FINDING, ProjectTree
from circuitscope.core.shipped import shipped_path

MODEL = shipped_path("projects", "sentiment", "model")


def test_words_are_weighed_kept_and_shown_again(
    window: MainWindow, finish_jobs: Callable, qtbot
) -> None:
    session = window.session
    session.load_model(MODEL)
    finish_jobs(session)
    window.desk.trigger("trace.words")
    dialog = window.findChild(ImportanceDialog)
    assert not dialog.weigh_button.isEnabled()
    dialog.field.setPlainText("never boring")
    assert dialog.weigh_button.isEnabled()
    dialog.weigh()
    finish_jobs(session)
    assert [chip.phrase.text for chip in dialog.strip.chips] == ["never", "boring"]
    assert (dialog.found.label, dialog.found.contrast) in (
        ("positive", "negative"), ("negative", "positive"),
    )  # fmt: skip
    dialog.label.setCurrentIndex(dialog.label.findData("positive"))
    dialog.contrast.setCurrentIndex(dialog.contrast.findData("negative"))
    dialog.weigh()
    finish_jobs(session)
    assert dialog.found.label == "positive"
    dialog.table.choose(dialog.found.phrase("never boring"))
    assert all(chip.is_marked for chip in dialog.strip.chips)
    dialog.table.choose(dialog.found.words[0])
    assert [chip.is_marked for chip in dialog.strip.chips] == [True, False]
    assert session.project is None
    dialog.keep()
    assert not dialog.keep_button.isEnabled()
    kept = dialog.found
    dialog.close()
    (info,) = session.project.findings()
    assert (info.kind, info.method, info.prompt) == ("ranking", "importance", "never boring")
    tree = window.findChild(ProjectTree)
    qtbot.waitUntil(lambda: any(item.data(0, FINDING) for item in tree._items()))
    (item,) = [item for item in tree._items() if item.data(0, FINDING)]
    tree.setCurrentItem(item)
    qtbot.keyClick(tree, Qt.Key.Key_Return)
    dialog = [d for d in window.findChildren(ImportanceDialog) if d.isVisible()][-1]
    assert [p.text for p in dialog.found.phrases] == [p.text for p in kept.phrases]
    assert dialog.label.currentData() == "positive"
    assert "sentiment" in dialog._told.text()
    dialog.close()


def test_a_model_without_labels_is_refused_in_the_dialog(
    window: MainWindow, tiny_llama, finish_jobs: Callable
) -> None:
    window.session.load_model(tiny_llama)
    finish_jobs(window.session)
    dialog = ImportanceDialog(window.desk)
    dialog.field.setPlainText("the capital")
    dialog.weigh()
    finish_jobs(window.session)
    assert "gives no labels" in dialog._told.text()
    assert dialog.found is None
    dialog.close()


def test_the_model_of_the_open_circuit_is_offered_first(
    window: MainWindow, finish_jobs: Callable
) -> None:
    window.open_path(shipped_path("projects", "sentiment", "sentiment.circuitscope"))
    dialog = ImportanceDialog(window.desk)
    finish_jobs(window.session)
    assert window.session.model.path == MODEL
    dialog.close()
