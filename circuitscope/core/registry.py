"""Find plug-ins by entry point; built-in ones are registered in the same way as outside ones."""

import logging
import traceback
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from circuitscope.core.errors import CircuitScopeError

T = TypeVar("T")
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
            report = traceback.format_exc()
            log.warning("plug-in %s of %s is broken", name, self.group)
            self.broken.append(BrokenPlugin(self.group, name, entry.value, report))
            del self._entries[name]
            return None
        self._loaded[name] = plugin
        return plugin

    def all(self) -> dict[str, T]:
        """Return every plug-in that loads, by name."""
        found = {name: self.get(name) for name in self.names()}
        return {name: plugin for name, plugin in found.items() if plugin is not None}
