"""Preferences: a tree of frozen values, kept as JSON below the user's state folder.

Keys that this version does not know are kept as they are, so that an older and a newer version
can share one file. A file that cannot be read is set aside, never overwritten.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from psygnal import Signal

from circuitscope.core.places import state_home

log = logging.getLogger(__name__)

FORMAT = 1
_MOST_RECENT = 12


@dataclass(frozen=True, slots=True)
class Appearance:
    """How the window looks.

    Attributes:
        theme: "system" follows the desktop.
        text_scale: Factor on the size of all text, 0.8 to 2.
    """

    theme: Literal["system", "light", "dark", "contrast"] = "system"
    text_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class EngineChoices:
    """How models are held.

    Attributes:
        device: "auto", "cpu", "cuda", ...
        dtype: Precision of the model's weights.
        threads: Processor threads that it computes with; 0 takes the physical cores.
        memory_share: How much of the free memory models and traces may take, 0.1 to 1.
        start_early: Whether the engine process starts with the window.
    """

    device: str = "auto"
    dtype: str = "float32"
    threads: int = 0
    memory_share: float = 1.0
    start_early: bool = True


@dataclass(frozen=True, slots=True)
class TraceChoices:
    """What a new trace starts from."""

    method: str = "direct"
    max_nodes: int = 2048
    units: str = "auto"
    mlp: str = "secant"


@dataclass(frozen=True, slots=True)
class ExportChoices:
    """What the export dialog starts from."""

    suffix: str = ".svg"
    preset: str = "screen"
    dpi: int = 300
    folder: str = ""


@dataclass(frozen=True, slots=True)
class ProjectChoices:
    """How projects are kept.

    Attributes:
        save_every: Minutes between saves that nobody asked for; 0 never saves unasked.
        offer_recovery: Whether the start offers the work that a crash left behind.
        reopen: Whether the start opens the project used last.
        author: Whose name exported figures and a project's log carry, "" for none.
    """

    save_every: int = 0
    offer_recovery: bool = True
    reopen: bool = False
    author: str = ""


@dataclass(frozen=True, slots=True)
class LanguageChoices:
    """Which language model explains features, if any; off unless the user turns it on.

    Attributes:
        use: Whether one may be asked at all.
        where: At an address, or in a folder of this machine.
        url: Address of an OpenAI-compatible service; model: its name there.
        key_variable: Environment variable that holds the key; the key itself is never stored.
        folder: Folder of a local Hugging Face model.
    """

    use: bool = False
    where: Literal["address", "folder"] = "address"
    url: str = ""
    model: str = ""
    key_variable: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Learning:
    """What the user was shown.

    Attributes:
        tour: Whether the tour is still to be offered, was left, or was done.
    """

    tour: Literal["new", "left", "done"] = "new"


@dataclass(frozen=True, slots=True)
class Recent:
    """What was used last, newest first; absolute paths.

    Attributes:
        dictionaries: Folders of dictionaries last used with a model, by the model's path.
        actions: Ids of the actions last chosen in the command palette.
    """

    projects: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    dictionaries: dict[str, list[str]] = field(default_factory=dict)
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preferences:
    """Everything a user can choose once for all."""

    appearance: Appearance = field(default_factory=Appearance)
    engine: EngineChoices = field(default_factory=EngineChoices)
    trace: TraceChoices = field(default_factory=TraceChoices)
    export: ExportChoices = field(default_factory=ExportChoices)
    projects: ProjectChoices = field(default_factory=ProjectChoices)
    language: LanguageChoices = field(default_factory=LanguageChoices)
    learning: Learning = field(default_factory=Learning)
    recent: Recent = field(default_factory=Recent)


class PreferenceFile:
    """The preferences and the file that keeps them.

    Attributes:
        now: The present values; change them through `change`.

    Args:
        path: The file; preferences.json in the state folder where left out.
    """

    changed = Signal(object)
    """Emitted with the new `Preferences`."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or state_home() / "preferences.json"
        self._raw = _read(self._path)
        self.now = _from_plain(Preferences, self._raw)

    def change(self, section: str, **values: Any) -> None:
        """Set some values of a section and write the file.

        Args:
            section: "appearance", "engine", "trace", "export", "projects", "language",
                "learning", "recent".
            values: New values by name.
        """
        self._keep(replace(self.now, **{section: replace(getattr(self.now, section), **values)}))

    def reset(self) -> None:
        """Return everything but the recent files and what was learnt to its default."""
        self._raw = {}
        self._keep(Preferences(recent=self.now.recent, learning=self.now.learning))

    def add_recent(self, kind: Literal["projects", "models"], path: Path | str) -> None:
        """Put a file to the front of a list of recent ones."""
        name = str(Path(path).absolute())
        others = [known for known in getattr(self.now.recent, kind) if known != name]
        self.change("recent", **{kind: (name, *others)[:_MOST_RECENT]})

    def add_recent_action(self, action_id: str) -> None:
        """Put an action to the front of those chosen in the command palette."""
        others = [known for known in self.now.recent.actions if known != action_id]
        self.change("recent", actions=(action_id, *others)[:_MOST_RECENT])

    def forget_recent(self, kind: Literal["projects", "models"], path: Path | str) -> None:
        """Take a file out of a list of recent ones."""
        name = str(Path(path).absolute())
        known = getattr(self.now.recent, kind)
        self.change("recent", **{kind: tuple(path for path in known if path != name)})

    def add_dictionaries(self, model: str, folders: tuple[str, ...]) -> None:
        """Remember which dictionaries went with a model."""
        kept = {**self.now.recent.dictionaries, str(Path(model).absolute()): list(folders)}
        self.change("recent", dictionaries=dict(list(kept.items())[-_MOST_RECENT:]))

    def _keep(self, values: Preferences) -> None:
        self.now = values
        self._raw = _merged(self._raw, _plain(values)) | {"format": FORMAT}
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(self._raw, indent=1, ensure_ascii=False), "utf-8")
            temporary.replace(self._path)
        except OSError:
            log.warning("preferences cannot be written to %s", self._path, exc_info=True)
        self.changed.emit(values)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        log.warning("%s cannot be read; defaults are used and it is set aside", path)
        try:
            path.replace(path.with_suffix(".unreadable.json"))
        except OSError:
            log.warning("%s cannot be set aside", path)
        return {}
    return data if isinstance(data, dict) else {}


def _plain(values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in fields(values):
        value = getattr(values, item.name)
        if hasattr(value, "__dataclass_fields__"):
            value = _plain(value)
        found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def _from_plain(kind: type[Any], data: Mapping[str, Any]) -> Any:
    """Rebuild a tree; a value of the wrong type falls back to its default."""
    values: dict[str, Any] = {}
    blank = kind()
    for item in fields(kind):
        default = getattr(blank, item.name)
        if item.name not in data:
            continue
        value = data[item.name]
        if hasattr(default, "__dataclass_fields__"):
            values[item.name] = _from_plain(type(default), value if isinstance(value, dict) else {})
        elif _fits(value, default, item.type):
            values[item.name] = tuple(value) if isinstance(default, tuple) else value
    return kind(**values)


def _fits(value: Any, default: Any, kind: Any) -> bool:
    choices = get_args(kind)
    if isinstance(default, str) and choices:
        return value in choices
    if isinstance(default, tuple):
        return isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(old)
    for key, value in new.items():
        before = both.get(key)
        deep = isinstance(value, dict) and isinstance(before, dict) and key != "dictionaries"
        both[key] = _merged(before, value) if deep and before is not None else value
    return both
