"""Preferences survive, keep what they do not know, and never stop the program."""

import json
from pathlib import Path

import pytest

from circuitscope.session.preferences import PreferenceFile, Preferences


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "preferences.json"


def test_changes_are_written_told_and_read_again(path: Path) -> None:
    file = PreferenceFile(path)
    told: list[Preferences] = []
    file.changed.connect(told.append)
    file.change("appearance", theme="dark", text_scale=1.25)
    file.change("projects", reopen=True)
    again = PreferenceFile(path).now
    assert again == file.now == told[-1]
    assert again.appearance.theme == "dark"
    assert again.projects.reopen


def test_unknown_keys_are_kept(path: Path) -> None:
    path.write_text(json.dumps({"future": {"a": 1}, "appearance": {"theme": "dark", "glow": 3}}))
    file = PreferenceFile(path)
    assert file.now.appearance.theme == "dark"
    file.change("engine", device="cpu")
    data = json.loads(path.read_text())
    assert data["future"] == {"a": 1}
    assert data["appearance"]["glow"] == 3
    assert data["engine"]["device"] == "cpu"


@pytest.mark.parametrize(
    "text", ['{"appearance": 3}', '{"appearance": {"theme": "mauve", "text_scale": "big"}}', "[1]"]
)
def test_wrong_values_fall_back_to_defaults(path: Path, text: str) -> None:
    path.write_text(text)
    assert PreferenceFile(path).now == Preferences()


def test_unreadable_file_is_set_aside(path: Path) -> None:
    path.write_text("{ not json")
    assert PreferenceFile(path).now == Preferences()
    assert path.with_suffix(".unreadable.json").read_text() == "{ not json"


def test_recent_files_are_few_newest_first_and_outlive_a_reset(path: Path, tmp_path: Path) -> None:
    file = PreferenceFile(path)
    for number in range(20):
        file.add_recent("projects", tmp_path / f"{number}")
    file.add_recent("projects", tmp_path / "15")
    file.change("appearance", theme="dark")
    file.reset()
    recent = PreferenceFile(path).now.recent.projects
    assert len(recent) == 12
    assert recent[:2] == (str(tmp_path / "15"), str(tmp_path / "19"))
    assert file.now.appearance.theme == "system"
    file.forget_recent("projects", tmp_path / "15")
    assert str(tmp_path / "15") not in file.now.recent.projects


def test_dictionaries_are_remembered_by_model(path: Path, tmp_path: Path) -> None:
    file = PreferenceFile(path)
    file.add_dictionaries(str(tmp_path / "model"), ("a", "b"))
    assert PreferenceFile(path).now.recent.dictionaries == {str(tmp_path / "model"): ["a", "b"]}


def test_folder_that_cannot_be_written_is_survived(tmp_path: Path) -> None:
    file = PreferenceFile(tmp_path / "missing" / "preferences.json")
    file.change("appearance", theme="light")
    assert file.now.appearance.theme == "light"
