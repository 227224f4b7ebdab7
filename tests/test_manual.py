"""The manual names everything a user can do, and the page of actions is the table of actions.

`CIRCUITSCOPE_WRITE_MANUAL=1 pytest tests/test_manual.py` writes that page anew.
"""

import os
from importlib.metadata import entry_points

import typer.main

from circuitscope import cli
from circuitscope.app.actions import ACTIONS, by_id, walk_menus
from circuitscope.app.dialogs.manual import PAGES
from circuitscope.core.shipped import shipped_path

MANUAL = shipped_path("resources", "manual")


def text_of_all_pages() -> str:
    return "\n".join((MANUAL / f"{name}.md").read_text("utf-8") for name in PAGES)


def page_of_actions() -> str:
    lines = [
        "# Actions and keys",
        "",
        "Single letters work while the graph has the focus. In the graph: Shift-click adds to the",
        "selection, Ctrl-click pins, a frame selects, the wheel zooms, Space-drag moves.",
    ]
    title = ""
    for menu, action_id in walk_menus():
        if menu != title:
            title = menu
            lines += ["", f"## {menu}", "", "| Action | Keys | What it does |", "|---|---|---|"]
        action = by_id(action_id)
        keys = ", ".join(f"`{key}`" for key in action.keys)
        lines.append(f"| {action.text} | {keys} | {action.help} |")
    return "\n".join(lines) + "\n"


def test_every_page_is_in_the_contents() -> None:
    assert {path.stem for path in MANUAL.glob("*.md")} == set(PAGES)


def test_the_page_of_actions_is_the_table_of_actions() -> None:
    page = MANUAL / "actions.md"
    if os.environ.get("CIRCUITSCOPE_WRITE_MANUAL"):
        page.write_text(page_of_actions(), "utf-8")
    assert {action.id for action in ACTIONS} == {action_id for _, action_id in walk_menus()}
    assert page.read_text("utf-8") == page_of_actions()


def test_verbs_methods_and_formats_are_in_the_manual() -> None:
    text = text_of_all_pages()
    verbs = set(typer.main.get_command(cli.app).commands)
    assert not {verb for verb in verbs if f"circuitscope {verb}" not in text}
    for group in (
        "circuitscope.methods",
        "circuitscope.file_formats",
        "circuitscope.dictionary_formats",
    ):
        names = {entry.name for entry in entry_points(group=group)}
        assert not {name for name in names if name.lower() not in text.lower()}
