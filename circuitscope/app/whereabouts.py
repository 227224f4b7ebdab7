"""Remember where the user was in each project: circuits, views in front, zoom and place in each.

Kept beside the window's layout in the state folder, not in the project: it is a habit of this
user on this machine, and looking at another circuit is no change worth saving.
"""

import hashlib
import json
from pathlib import Path

from PySide6.QtCore import QSettings

from circuitscope.app.desk import Desk
from circuitscope.core.places import state_home
from circuitscope.project.drawings import circuit_of


def window_settings() -> QSettings:
    """Return the file of layouts and whereabouts."""
    return QSettings(str(state_home() / "window.ini"), QSettings.Format.IniFormat)


def remember(desk: Desk, view: str) -> None:
    """Keep the open drawings, the one shown and the view in front for the next time."""
    project = desk.session.project
    if project is not None and project.path is not None and desk.session.active:
        settings, key = window_settings(), _key(project.path)
        settings.setValue(key, [desk.session.active_drawing, view])
        settings.setValue(key + "-tabs", json.dumps(desk.window.drawing_tabs.opened()))
        split = desk.window.split
        settings.setValue(key + "-split", json.dumps(split.kept()))
        looks: dict[str, dict[str, tuple[float, ...]]] = {"link": {}, "circuit": {}}
        for half in (split.side, split.main):
            for name, canvas in half.views().items() if half is not None else ():
                looks[name] |= canvas.looks()
        settings.setValue(key + "-looks", json.dumps(looks))


def recall(path: Path | str | None) -> tuple[str, str]:
    """Return the drawing's id and the view, "" where nothing is known."""
    kept = window_settings().value(_key(path)) if path is not None else None
    if isinstance(kept, list) and len(kept) == 2:
        return str(kept[0]), str(kept[1])
    return "", ""


def go_back(desk: Desk, place: tuple[str, str]) -> None:
    """Open the tabs, the drawing and the view of `recall`, as far as the project still has them.

    The window is split again where it was.
    """
    drawing_id, view = place
    session = desk.session
    known = _drawings(desk)
    path = session.project.path if session.project is not None else None
    settings = window_settings()
    if path is not None:
        kept = _listed(settings.value(_key(path) + "-tabs"))
        desk.window.drawing_tabs.open_all([name for name in kept if name in known])
    if drawing_id in known:
        session.activate(circuit_of(drawing_id), drawing_id)
    if view:
        desk.window.show_view(view)
    if path is not None:
        desk.window.split.take(_listed(settings.value(_key(path) + "-split")))
        _look_again(desk, path)


def _drawings(desk: Desk) -> set[str]:
    project = desk.session.project
    infos = project.findings() if project is not None else []
    return {one.id for info in infos if info.kind == "circuit" for one in project.drawings(info.id)}


def _listed(kept: object) -> list[str]:
    try:
        found = json.loads(str(kept or "[]"))
    except ValueError:
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _look_again(desk: Desk, path: Path) -> None:
    """Give each canvas its zoom and place in every drawing back."""
    try:
        kept = json.loads(window_settings().value(_key(path) + "-looks") or "{}")
        split = desk.window.split
        for half in (split.main, split.side):
            for name, canvas in half.views().items() if half is not None else ():
                looks = dict(kept.get(name, {}))
                canvas.take_looks({key: tuple(map(float, look)) for key, look in looks.items()})
    except (TypeError, ValueError, AttributeError):
        return  # written by another version: the whole graph is shown


def _key(path: Path | str) -> str:
    return "whereabouts/" + hashlib.sha256(str(Path(path).absolute()).encode()).hexdigest()[:24]
