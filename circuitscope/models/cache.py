"""The models in the user's Hugging Face cache, found by looking at its folders; no network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CachedModel:
    """One model of the cache.

    Attributes:
        name: Its name on the Hub, such as "openai-community/gpt2".
        path: The snapshot's folder, as `load_model` takes it.
        n_bytes: Size of the files that are there.
    """

    name: str
    path: str
    n_bytes: int


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return where Hugging Face keeps what it has downloaded, by the same variables as it does."""
    known = os.environ if environment is None else environment
    if known.get("HF_HUB_CACHE"):
        return Path(known["HF_HUB_CACHE"]).expanduser()
    if known.get("HF_HOME"):
        return Path(known["HF_HOME"]).expanduser() / "hub"
    return Path(known.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def cached_models(folder: Path | None = None) -> tuple[CachedModel, ...]:
    """Return the models of the cache by name; what has no config.json is no model.

    A model that is only partly there is listed too: choosing it says which files are missing.
    """
    found = []
    for place in sorted((folder or cache_folder()).glob("models--*")):
        snapshot = _snapshot(place)
        if snapshot is not None:
            name = place.name.removeprefix("models--").replace("--", "/")
            found.append(CachedModel(name, str(snapshot), _size(snapshot)))
    return tuple(sorted(found, key=lambda model: model.name.lower()))


def _snapshot(place: Path) -> Path | None:
    """Return the snapshot that the branch main names, else the newest one."""
    try:
        main = place / "snapshots" / (place / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        main = place
    if main != place and (main / "config.json").is_file():
        return main
    others = [file.parent for file in (place / "snapshots").glob("*/config.json") if file.is_file()]
    return max(others, key=lambda folder: folder.stat().st_mtime, default=None)


def _size(snapshot: Path) -> int:
    return sum(file.stat().st_size for file in snapshot.rglob("*") if file.is_file())
