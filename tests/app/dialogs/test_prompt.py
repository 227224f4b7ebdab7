"""The prompt editor: ids, special tokens, what comes next, Raw and Chat, two BOS tokens."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from circuitscope.app.dialogs.trace import TraceDialog
from circuitscope.app.main_window import MainWindow

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ ' ' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} is{% endif %}"
)


@pytest.fixture
def dialog(window: MainWindow) -> TraceDialog:
    window.desk.trigger("trace.new")
    return window.findChild(TraceDialog)


@pytest.fixture
def chatty(tiny_llama: Path, tmp_path: Path) -> Path:
    """Return a model with a chat template."""
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "chatty"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def load(dialog: TraceDialog, folder: Path, finish: Callable) -> None:
    dialog._desk.session.load_model(folder)
    finish(dialog._desk.session)


def settle(dialog: TraceDialog, qtbot: QtBot, finish: Callable) -> None:
    prompt = dialog.prompt
    qtbot.waitUntil(lambda: not prompt._wait.isActive())
    finish(dialog._desk.session)
    qtbot.waitUntil(lambda: not prompt._rest.isActive())
    finish(dialog._desk.session)


def test_tokens_ids_and_what_comes_next_are_shown_while_typing(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    load(dialog, tiny_llama, finish_jobs)
    dialog.prompt.field.setPlainText("the capital of Texas")
    settle(dialog, qtbot, finish_jobs)
    assert dialog.prompt.tokens.texts()[:2] == ["<bos>\n1", "the\n3"]
    shown = dialog.prompt.following.shown
    assert len(shown) == 6
    assert [c.probability for c in shown] == sorted((c.probability for c in shown), reverse=True)
    assert not dialog.prompt.following.isHidden()
    dialog.prompt.generate()
    finish_jobs(dialog._desk.session)
    assert dialog.prompt.answer.generation.steps[0].token_id == shown[0].token_id
    assert dialog.prompt.following.isHidden()


def test_two_bos_tokens_are_mended_by_one_click(
    dialog: TraceDialog, tiny_llama: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    load(dialog, tiny_llama, finish_jobs)
    dialog.prompt.field.setPlainText("<bos> the capital")
    settle(dialog, qtbot, finish_jobs)
    assert "two BOS tokens" in dialog.prompt.error.accessibleName()
    buttons = dialog.prompt.error.findChildren(QPushButton)
    next(b for b in buttons if b.text() == "Remove the second BOS").click()
    settle(dialog, qtbot, finish_jobs)
    assert dialog.prompt.error.isHidden()
    assert dialog.prompt.text == "the capital"
    assert dialog.prompt.tokens.texts() == ["<bos>\n1", "the\n3", "capital\n4"]


def test_chat_is_off_for_base_models(
    dialog: TraceDialog, tiny_llama: Path, chatty: Path, finish_jobs: Callable
) -> None:
    load(dialog, tiny_llama, finish_jobs)
    assert not dialog.prompt.chat_button.isEnabled()
    assert "no chat template" in dialog.prompt.chat_button.toolTip()
    load(dialog, chatty, finish_jobs)
    assert dialog.prompt.chat_button.isEnabled()
    dialog.prompt.chat_button.click()
    assert dialog.prompt.is_chat
    load(dialog, tiny_llama, finish_jobs)
    assert not dialog.prompt.is_chat, "back to plain text with a base model"


def test_a_conversation_is_stored_as_the_ids_it_is_written_out_to(
    dialog: TraceDialog, chatty: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    session, prompt = dialog._desk.session, dialog.prompt
    load(dialog, chatty, finish_jobs)
    prompt.chat_button.click()
    prompt.chat.rows[0].field.setPlainText("the capital of Texas")
    assert not dialog.trace_button.isEnabled(), "its ids are not known yet"
    settle(dialog, qtbot, finish_jobs)
    assert [text.split("\n")[0] for text in prompt.tokens.texts()] == [
        "<bos>", "the", "capital", "of", "Texas", "is",
    ]  # fmt: skip
    written = dialog.settings().prompt
    assert isinstance(written, tuple)
    prompt.chat.generation_prompt.setChecked(False)
    settle(dialog, qtbot, finish_jobs)
    assert dialog.settings().prompt == written[:-1]
    prompt.chat.add("assistant", "Austin")
    settle(dialog, qtbot, finish_jobs)
    assert len(dialog.settings().prompt) == len(written)
    dialog.trace()
    finish_jobs(session)
    assert session.jobs.jobs[-1].state == "done", session.jobs.jobs[-1].error
    assert session.circuit.token_ids[:-1] == written[:-1]
    assert session.circuit.tokens[-1] == "Austin"


def test_a_model_without_tokenizer_takes_ids(
    dialog: TraceDialog, tiny_llama: Path, tmp_path: Path, qtbot: QtBot, finish_jobs: Callable
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "bare"))
    for file in folder.glob("*token*"):
        file.unlink()
    load(dialog, folder, finish_jobs)
    dialog.prompt.field.setPlainText("the capital")
    settle(dialog, qtbot, finish_jobs)
    assert "no tokenizer" in dialog.prompt.error.accessibleName()
    assert dialog.prompt.error.commands[0].startswith("hf download")
    assert dialog.prompt.field.placeholderText() == "1 17 4"
    dialog.prompt.field.setPlainText("1 17 4")
    settle(dialog, qtbot, finish_jobs)
    assert dialog.prompt.error.isHidden()
    assert dialog.settings().prompt == (1, 17, 4)
    assert dialog.prompt.tokens.texts() == ["#1\n1", "#17\n17", "#4\n4"]
