"""What a method finds besides circuits, and where a result comes from."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Provenance:
    """Say where a result comes from; copied into every export.

    Attributes:
        settings: `TraceSettings.as_json()` or the importer's settings.
        model: `ModelAnatomy.as_json()`, or what an imported file says of its model.
        dictionaries: One `DictionaryCard.as_json()` per dictionary used.
        started: ISO 8601 time in UTC.
        remarks: Sentences a reader must see, such as a dictionary trained on another model.
        scores: Numbers of the whole result, such as error_share.
    """

    method: str
    app_version: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    dictionaries: tuple[dict[str, Any], ...] = ()
    dtype: str = "float32"
    device: str = ""
    seed: int = 0
    started: str = ""
    seconds: float = 0.0
    libraries: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    parent: str = ""
    source_file: str = ""

    def to_json(self) -> str:
        """Return the record as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    def without_folders(self) -> "Provenance":
        """Return the record as it may be published: file names, not this machine's folders."""
        settings = dict(self.settings)
        if settings.get("dictionaries"):
            settings["dictionaries"] = [_name(path) for path in settings["dictionaries"]]
        cards = tuple(
            {**card, "path": _name(card["path"])} if card.get("path") else card
            for card in self.dictionaries
        )
        return replace(
            self, settings=settings, dictionaries=cards, source_file=_name(self.source_file)
        )

    @staticmethod
    def from_json(text: str) -> "Provenance":
        """Rebuild from `to_json`; unknown keys of newer versions are dropped."""
        data = json.loads(text)
        known = Provenance.__dataclass_fields__
        values = {key: value for key, value in data.items() if key in known}
        for name in ("dictionaries", "remarks"):
            values[name] = tuple(values.get(name, ()))
        return Provenance(**values)


def _name(path: str) -> str:
    return PurePath(path.replace("\\", "/")).name


@dataclass(frozen=True, slots=True)
class Grid:
    """An array with named axes, such as a patching sweep over layers and positions.

    Attributes:
        texts: What each value is of, such as tokens, in the order of `values.ravel()`; may be
            empty. ids: Their numbers, in the same order.
    """

    axes: tuple[str, ...]
    ticks: tuple[tuple[str, ...], ...]
    values: NDArray[np.float32]
    provenance: Provenance
    texts: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """Names with a score each, best first."""

    names: tuple[str, ...]
    scores: NDArray[np.float32]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Curves:
    """Named curves over a shared x axis."""

    x_name: str
    x: NDArray[np.float32]
    curves: dict[str, NDArray[np.float32]]
    provenance: Provenance
