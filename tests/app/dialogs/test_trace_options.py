"""The window and the command line offer the same trace: each setting is asked for by both."""

from dataclasses import fields

import click
import pytest
import typer.main
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QSpinBox

from circuitscope import cli
from circuitscope.app.dialogs.trace import ADVANCED, PLAIN, TraceDialog
from circuitscope.app.main_window import MainWindow
from circuitscope.core.settings import TraceSettings

SETTINGS = {item.name: item for item in fields(TraceSettings)}
FORMS = (*PLAIN, *ADVANCED)
BOXES = {
    "prompt": "prompt", "targets": "targets", "dictionaries": "dictionaries",
    "read_at": "dictionaries", "method": "method", "means": "means",
    "corrupted": "corrupted",
}  # fmt: skip
"""Settings that the dialog asks for in a part of its own, by the name of that part."""
WORKPLACE = {"name", "out", "as_json", "quiet", "help"}
"""Options that say where results go: the window's project and its jobs."""
IN_PARTS = {
    "model": "model", "device": "model", "held_in": "model", "ids": "prompt", "chat": "prompt",
    "prompts": "further", "share": "further", "target": "targets",
}  # fmt: skip
"""Options that are no setting of their own, and the part of the dialog that asks for each."""


@pytest.fixture
def dialog(window: MainWindow) -> TraceDialog:
    window.desk.trigger("trace.new")
    found = window.findChild(TraceDialog)
    assert found is not None
    return found


def options() -> dict[str, click.Parameter]:
    command = typer.main.get_command(cli.app).commands["trace"]  # type: ignore[attr-defined]
    return {item.name: item for item in command.params if item.name is not None}


def test_every_setting_is_in_the_dialog(dialog: TraceDialog) -> None:
    assert set(FORMS) | set(BOXES) == set(SETTINGS)
    assert not set(FORMS) & set(BOXES)
    assert all(hasattr(dialog, part) for part in {**BOXES, **IN_PARTS}.values())
    assert set(dialog._form.fields) | set(dialog._advanced.fields) == set(FORMS)


def test_every_setting_is_an_option_and_every_option_is_in_the_dialog() -> None:
    names = {"targets": "target"}
    assert {names.get(name, name) for name in SETTINGS} <= set(options())
    assert set(options()) == {*FORMS, *BOXES, *IN_PARTS, *WORKPLACE} - {"help", "targets"}


def test_both_say_the_same_of_each_setting(dialog: TraceDialog) -> None:
    for name in FORMS:
        hints, option = SETTINGS[name].metadata, options()[name]
        made = {**dialog._form.fields, **dialog._advanced.fields}[name]
        assert made.toolTip() == hints["help"]
        assert option.help.startswith(hints["help"]), name
        assert option.default == SETTINGS[name].default, name
        if "choices" in hints:
            assert isinstance(made, QComboBox)
            assert tuple(made.itemData(at) for at in range(made.count())) == hints["choices"]
            assert all(choice in option.help for choice in hints["choices"])
        elif "range" in hints:
            assert isinstance(made, QSpinBox | QDoubleSpinBox)
            assert made.maximum() == hints["range"][1]
