"""The published dictionary sets that are known, by model: repository, sites, size, licence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from circuitscope.core.shipped import shipped_path


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """One published set; what is not known is None.

    Attributes:
        model: Name of the model, without its organisation.
        repo: Repository.
        format: Name of the reader.
        kind: "transcoders", "autoencoders" or "cross-layer transcoder".
        reads: Site; writes: Site.
        disk_gib: What the whole repository takes, in GiB.
        licence: SPDX-like name.
        also: Further repositories whose files it refers to.
    """

    model: str
    repo: str
    format: str
    kind: str
    reads: str | None = None
    writes: str | None = None
    disk_gib: float | None = None
    licence: str | None = None
    also: tuple[str, ...] = ()

    @property
    def size_text(self) -> str:
        """Return "57 GiB", or "" where it is not known."""
        return "" if self.disk_gib is None else f"{self.disk_gib:g} GiB"

    @property
    def download_lines(self) -> tuple[str, ...]:
        """Return the commands that fetch it into the cache."""
        return tuple(f"hf download {repo}" for repo in (self.repo, *self.also))


@cache
def published_sets() -> tuple[PublishedSet, ...]:
    """Return every set of the shipped catalogue."""
    text = shipped_path("resources", "catalogue.json").read_text(encoding="utf-8")
    return tuple(
        PublishedSet(**{**entry, "also": tuple(entry["also"])})
        for entry in json.loads(text)["sets"]
    )


def sets_for(model_name: str) -> tuple[PublishedSet, ...]:
    """Return the published sets of a model, by the last part of its name."""
    plain = model_name.rstrip("/").replace("\\", "/").rpartition("/")[2].lower()
    return tuple(entry for entry in published_sets() if entry.model.lower() == plain)


def size_of(repo: str) -> str:
    """Return how much a repository takes on disk, "" where that is not known."""
    return next((entry.size_text for entry in published_sets() if entry.repo == repo), "")
