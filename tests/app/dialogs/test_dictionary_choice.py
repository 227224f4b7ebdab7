"""Dictionaries in the trace dialog: found, typed, ordered, checked on the prompt."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.dictionary_choice import DictionaryChoiceBox, _offer, checks_text
from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.anatomy import Site
from circuitscope.core.catalogue import sets_for
from circuitscope.core.dictionary_check import DictionaryCheck
from circuitscope.models.capture import capture
from circuitscope.models.loading import load_model
from circuitscope.models.prompts import read_prompt
from tests.dictionary_writers import write_circuit_tracer
from tests.sae_lens_writer import write_exact, write_sae


@pytest.fixture
def dialog(
    window: MainWindow, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    finish_jobs: Callable,
) -> TraceDialog:  # fmt: skip
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for repo in ("set", "model"):
        (tmp_path / "hub" / f"models--org--{repo}" / "snapshots" / "abc").mkdir(parents=True)
    write_circuit_tracer(tmp_path / "hub" / "models--org--set" / "snapshots" / "abc" / "x", 2)
    window.desk.trigger("trace.new")
    dialog = window.findChild(TraceDialog)
    dialog._desk.session.load_model(tiny_llama)
    finish_jobs(dialog._desk.session)
    return dialog


def rows(dialog: TraceDialog) -> list[str]:
    column = dialog.dictionaries._list
    widgets = [column.itemAt(index).widget() for index in range(column.count())]
    return [row.text() for row in widgets if not row.isHidden()]


def test_sets_in_the_cache_are_listed_and_other_repositories_are_not(dialog: TraceDialog) -> None:
    assert [text.split("    ") for text in rows(dialog)] == [
        ["org/set", "2 transcoders · layers 0–1"]
    ]
    assert dialog.dictionaries.chosen() == ()


def test_fitting_sets_stand_first_and_a_reference_can_be_typed(
    dialog: TraceDialog, tmp_path: Path, finish_jobs: Callable
) -> None:
    session, box = dialog._desk.session, dialog.dictionaries
    write_sae(tmp_path / "wide" / "one", "mlp_out", 0, d=20)
    write_sae(tmp_path / "deep" / "one", "mlp_out", 7)
    write_sae(tmp_path / "good" / "one", "mlp_out", 1)
    for text in (tmp_path / "wide", tmp_path / "deep", "org/missing", tmp_path / "good"):
        box.reference.setText(str(text))
        box.add_reference()
    finish_jobs(session)
    found = [text.split("    ") for text in rows(dialog)]
    assert [name.rpartition(" ")[2] for name, _ in found] == [
        "org/set", "good", "wide", "deep", "org/missing",
    ]  # fmt: skip
    assert found[2][1] == "made for width 20, but the model has 16"
    assert found[3][1] == "made for layer 7, but the model has 2 layers"
    assert "not in the local cache" in found[4][1]
    assert "hf download org/missing" in box._rows["org/missing"].toolTip()
    assert box.chosen() == (str(tmp_path / "good"),)


def test_a_check_on_the_prompt_is_shown(
    dialog: TraceDialog, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session, box = dialog._desk.session, dialog.dictionaries
    assert not box._check.isEnabled()
    box._rows["org/set"].setChecked(True)
    dialog.prompt.field.setPlainText("the capital of the state containing Dallas is")
    qtbot.waitUntil(lambda: not dialog.prompt._wait.isActive())
    finish_jobs(session)
    box._check.click()
    finish_jobs(session)
    assert "active a position" in box._checks.text()
    assert "spliced" in box._checks.text()
    assert box.chosen() == dialog.settings().dictionaries == ("org/set",)


def test_a_better_site_is_offered_used_and_taken_back(
    dialog: TraceDialog, tiny_llama: Path, tmp_path: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session, box = dialog._desk.session, dialog.dictionaries
    text = "Dallas is the capital of state containing"
    model = load_model(tiny_llama, device="cpu")
    cache = capture(model, read_prompt(model, text).token_ids)
    place = write_exact(tmp_path / "sets" / "one", cache, "normalized").parent
    box.look_at(place)
    dialog.prompt.field.setPlainText(text)
    qtbot.waitUntil(lambda: not dialog.prompt._wait.isActive())
    finish_jobs(session)
    assert box.chosen() == (str(place),)
    box._check.click()
    finish_jobs(session)
    use = offered(box, "Use that")
    assert use.accessibleName() == "Read at the MLP's input (mlp_in)"
    assert dialog.settings().read_at == ()
    use.click()
    assert dialog.settings().read_at == ("one=mlp_in",)
    finish_jobs(session)
    assert "explains 1.00" in box._checks.text(), "measured again, where it is read now"
    offered(box, "Read where declared").click()
    assert dialog.settings().read_at == ()
    finish_jobs(session)
    offered(box, "Use that").click()
    finish_jobs(session)
    box._rows[str(place)].setChecked(False)
    assert dialog.settings().read_at == (), "names hold for the folders that were checked"
    box._rows[str(place)].setChecked(True)
    box._check.click()
    finish_jobs(session)
    offered(box, "Use that").click()
    rule = dialog._advanced.fields["mlp"]
    rule.setCurrentIndex(rule.findData("transcoder"))
    dialog.trace()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    assert session.circuit.provenance.dictionaries[0]["read_site"] == "mlp_in"
    assert session.circuit.provenance.settings["read_at"] == ["one=mlp_in"]


def offered(box: DictionaryChoiceBox, words: str) -> QPushButton:
    (found,) = [b for b in box.offer.findChildren(QPushButton) if b.text() == words]
    return found


def test_the_least_explained_stand_first_with_advice() -> None:
    checks = tuple(
        DictionaryCheck(f"d{n}", n, Site.MLP_IN, 3, None, 0.9 - 0.1 * n, 0.5) for n in range(10)
    )
    lines = checks_text(checks).splitlines()
    assert lines[0].startswith("d9")
    assert lines[8] == "2 more, up to 0.90 explained"
    assert lines[9].startswith("d9 explains only 0.00")


def test_published_sets_are_offered_with_size_and_download_line() -> None:
    (entry,) = sets_for("Qwen3-4B")
    assert _offer(entry) == "transcoders · 57 GiB: hf download mwhanna/qwen3-4b-transcoders"
