"""Find plug-ins by entry point; built-in ones are registered in the same way as outside ones."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from circuitscope.core.errors import CircuitScopeError

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """An outside plug-in that could not be loaded, for the list in Help."""

    group: str
    name: str
    value: str
    report: str


class Registry(Generic[T]):
    """Load the plug-ins of one entry-point group, lazily and by name.

    Args:
        group: Entry-point group, such as "circuitscope.families".
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self._entries: dict[str, EntryPoint] = {}
        self._loaded: dict[str, T] = {}
        self.broken: list[BrokenPlugin] = []
        for entry in entry_points(group=group):
            known = self._entries.get(entry.name)
            if known is not None and known.value != entry.value:
                raise CircuitScopeError(
                    f"Two plug-ins call themselves {entry.name!r} in {group}: "
                    f"{known.value} and {entry.value}.",
                    hint="Uninstall one of the two packages.",
                )
            self._entries[entry.name] = entry

    def names(self) -> list[str]:
        """Return the registered names in alphabetical order."""
        return sorted(self._entries)

    def get(self, name: str) -> T | None:
        """Return one plug-in, made on first use; None where the name is unknown or broken."""
        if name in self._loaded:
            return self._loaded[name]
        entry = self._entries.get(name)
        if entry is None:
            return None
        try:
            plugin: T = entry.load()()
        except Exception:  # noqa: BLE001 - an outside plug-in must never stop the program
            self._give_up(name)
            return None
        self._loaded[name] = plugin
        return plugin

    def ask(self, name: str, question: Callable[[T], R], otherwise: R) -> R:
        """Ask a plug-in something; one that fails counts as broken from then on.

        Args:
            name: Which one.
            question: Called with the plug-in.
            otherwise: What is returned where the name is unknown or the plug-in is broken.

        Raises:
            CircuitScopeError: The plug-in's own answer to its user.
        """
        plugin = self.get(name)
        if plugin is None:
            return otherwise
        try:
            return question(plugin)
        except CircuitScopeError:
            raise
        except Exception:  # noqa: BLE001 - an outside plug-in must never stop the program
            self._give_up(name)
            return otherwise

    def _give_up(self, name: str) -> None:
        """Forget a plug-in; called while what it raised is handled."""
        report, entry = traceback.format_exc(), self._entries.pop(name)
        log.warning("plug-in %s of %s is broken\n%s", name, self.group, report)
        self._loaded.pop(name, None)
        self.broken.append(BrokenPlugin(self.group, name, entry.value, report))

    def all(self) -> dict[str, T]:
        """Return every plug-in that loads, by name."""
        found = {name: self.get(name) for name in self.names()}
        return {name: plugin for name, plugin in found.items() if plugin is not None}
