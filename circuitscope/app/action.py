"""One action of the window, as the table of actions lists it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from circuitscope.app import conditions as when
from circuitscope.app.desk import Desk
from circuitscope.session.session import Session

SEPARATOR = "-"
"""Stands for a line between entries of a menu."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a user can do.

    Attributes:
        id: Stable name, "menu.verb".
        text: What menus show; help: one line for tooltip, status bar and manual.
        call: What it does, given the desk.
        keys: Shortcuts, the first is the one shown.
        picture: Name of a bundled icon.
        needs: Returns the reason why it cannot be used now, "" where it can.
        on: "canvas" where the shortcuts work only while the canvas has the focus.
        checked: For switches, whether it is on.
    """

    id: str
    text: str
    help: str
    call: Callable[[Desk], object]
    keys: tuple[str, ...] = ()
    picture: str = ""
    needs: Callable[[Session], str] = when.always
    on: Literal["window", "canvas"] = "window"
    checked: Callable[[Desk], bool] | None = None
