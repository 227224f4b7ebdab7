"""The words of menu texts: how nodes, numbers and settings are called in "Undo …"."""

from collections.abc import Iterable
from typing import Any

from circuitscope.core.keys import NodeKey

Key = NodeKey | str


def names_of(keys: Iterable[Key | Iterable[Key]]) -> list[str]:
    """Return keys as text, each once; lists of keys are taken apart."""
    flat: list[str] = []
    for key in keys:
        flat += [str(key)] if isinstance(key, str | NodeKey) else names_of(key)
    return list(dict.fromkeys(flat))


def describe(key: Key) -> str:
    """Name a node for a menu: "L0 #214", "token 3", "logit 17"; other ids as they are."""
    parts = str(key).split("/")
    if len(parts) != 5:
        return short(str(key), 16)
    kind, _, layer, position, unit = parts
    texts = {
        "feature": f"L{layer} #{unit}",
        "neuron": f"L{layer} MLP" if unit == "-1" else f"L{layer} neuron {unit}",
        "head": f"L{layer} head {unit}",
        "error": f"L{layer} error",
        "token": f"token {position}",
        "position": f"position {position}",
        "logit": f"logit {unit}",
    }
    return texts.get(kind, f"{kind} L{layer}")


def short(text: str, length: int = 32) -> str:
    """Return a text that fits a menu: one line, cut with an ellipsis."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def count(things: Iterable[Any], noun: str) -> str:
    """Return "1 node", "3 nodes"."""
    n = len(list(things))
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def what(keys: Iterable[Key | Iterable[Key]], noun: str = "node") -> str:
    """Name one thing, or count several."""
    names = names_of(keys)
    return describe(names[0]) if len(names) == 1 else count(names, noun)


def shown(value: Any) -> str:
    """Return a setting as a menu shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.2f}"
    return "default" if value is None else str(value)
