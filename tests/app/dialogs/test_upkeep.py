"""The window's care for projects: the log, a link, a check with rescue, removing for good."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from PySide6.QtGui import QGuiApplication

from circuitscope.app.commands import upkeep
from circuitscope.app.dialogs.soundness import SoundnessDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.circuit import Circuit
from circuitscope.project.check import check_project
from circuitscope.project.verbs import delete_finding


def test_log_lists_names_and_undone_edits_and_copies_what_the_filter_leaves(
    drawn: MainWindow,
) -> None:
    session = drawn.session
    session.preferences.change("projects", author="Ada Lovelace")
    key = str(session.circuit.nodes.key(0))
    session.drawing.label(key, "by Ada")
    session.drawing.hide(key)
    session.undo()
    dialog = upkeep.show_log(drawn.desk)
    lines = [
        [dialog.table.topLevelItem(at).text(column) for column in range(4)]
        for at in range(dialog.table.topLevelItemCount())
    ]
    assert [line[1] for line in lines[-2:]] == ["Ada Lovelace"] * 2
    assert lines[0][3] == "Start the project"
    assert "by Ada" in lines[-2][3]
    assert lines[-1][3].endswith("(undone)")
    dialog.filter.setText("ADA by")
    dialog._copy()
    heading, copied = QGuiApplication.clipboard().text().splitlines()
    assert heading == "When\tWho\tWhere\tWhat"
    assert datetime.fromisoformat(copied.partition("\t")[0]).tzinfo is not None
    assert "Ada Lovelace\tDallas\tLabel" in copied
    dialog.reject()


def test_link_of_the_clipboard_becomes_one_edit_and_tells_what_was_left_out(
    window: MainWindow, tmp_path: Path
) -> None:
    assert not window.desk.actions["file.link"].isEnabled()
    path = tmp_path / "graph.json"
    nodes = [
        {"node_id": f"{layer}_{unit}_0", "feature_type": kind, "layer": str(layer), "ctx_idx": 0,
         "feature": None, "jsNodeId": "", "clerp": ""}
        for layer, unit, kind in ((0, 3, "cross layer transcoder"), (3, 9, "logit"))
    ]  # fmt: skip
    links = [{"source": "0_3_0", "target": "3_9_0", "weight": 1.0}]
    path.write_text(json.dumps({"metadata": {}, "nodes": nodes, "links": links}))
    session = window.session
    session.jobs.wait(session.import_file(path))
    window.refresh()
    assert window.desk.actions["file.link"].isEnabled()
    address = "https://www.neuronpedia.org/x/graph?pinnedIds=0_3_0,gone"
    QGuiApplication.clipboard().setText(address)
    dialog = upkeep.use_link(window.desk)
    assert dialog.field.toPlainText() == address
    dialog.take()
    assert set(session.drawing.of_kind("pin")) == {"feature/mlp_transcoder/0/0/3"}
    assert "1 pin named missing nodes" in dialog.told.text()
    assert session.undo_text == "Take the view of a link"
    dialog.field.setPlainText("no link")
    dialog.take()
    assert "names no pins" in dialog.told.text()
    dialog.reject()


def test_damaged_file_is_checked_and_what_can_be_read_is_saved(
    drawn: MainWindow, small_circuit: Circuit, tmp_path: Path
) -> None:
    session = drawn.session
    session.project.add(small_circuit, "Oakland")
    session.save()
    bad = tmp_path / "bad.circuitscope"
    shutil.copyfile(tmp_path / "dallas.circuitscope", bad)
    with closing(sqlite3.connect(bad, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE array SET digest = 'x' WHERE seq = (SELECT min(seq) FROM array"
            " WHERE name = 'edges/weight')"
        )
    raw = bad.read_bytes()
    dialog = SoundnessDialog(drawn.desk, bad)
    session.jobs.wait(dialog._job)
    assert dialog.list.count() > 0
    assert "The file was not changed" in dialog._told.text()
    dialog.rescue(tmp_path / "out")
    session.jobs.wait(dialog._job)
    assert "Saved to out.circuitscope" in dialog._told.text()
    assert check_project(tmp_path / "out.circuitscope") == []
    assert "Dallas" in dialog.list.item(0).text()
    assert bad.read_bytes() == raw
    dialog.reject()
    sound = SoundnessDialog(drawn.desk, tmp_path / "dallas.circuitscope")
    session.jobs.wait(sound._job)
    assert sound._stack.currentIndex() == 1
    assert not sound.save.isEnabled()
    sound.reject()


def test_deleted_results_are_removed_after_a_question(drawn: MainWindow) -> None:
    session = drawn.session
    action = drawn.desk.actions["file.compact"]
    drawn.refresh()
    assert not action.isEnabled()
    assert "Nothing was deleted" in action.toolTip()
    project = session.project
    project.contents.commit(delete_finding(project, project.findings()[0].id))
    drawn.refresh()
    assert action.isEnabled()
    dialog = upkeep.compact(drawn.desk)
    dialog.reject()
    assert session.undo_text.startswith("Delete")
    dialog = upkeep.compact(drawn.desk)
    dialog.buttons.itemAt(dialog.buttons.count() - 1).widget().click()
    assert len(project.contents.of_kind("deleted")) == 0
    assert session.undo_text == ""
    session.save()
