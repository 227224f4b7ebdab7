"""Find files of Hugging Face repositories in the local cache, and only there.

References are those people write: a folder or file, "org/name", "org/name@revision",
"org/name/folder", or "hf://org/name/file?revision=main". Nothing is ever downloaded; what is
missing is named with the line that fetches it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from circuitscope.core.catalogue import size_of
from circuitscope.core.errors import DictionaryFilesMissing

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_PART = re.compile(r"[\w.=+, -]+")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository, perhaps a file or folder in it, perhaps one revision."""

    repo: str
    inside: str = ""
    revision: str = ""

    @property
    def download_line(self) -> str:
        """Return the command that fetches it into the cache."""
        line = f"hf download {self.repo}"
        if self.inside:
            ending = Path(self.inside).suffix
            line += f" {self.inside}" if ending else f' --include "{self.inside}/*"'
        return f"{line} --revision {self.revision}" if self.revision else line


def parse_reference(text: str) -> HubReference | None:
    """Read a reference to a repository; None where the text is none."""
    if text.startswith("hf://"):
        parsed = urlparse(text)
        path = f"{parsed.netloc}{parsed.path}"
        revision = parse_qs(parsed.query).get("revision", [""])[0]
    else:
        if text.startswith(("/", ".", "~")) or "\\" in text:
            return None
        path, _, revision = text.partition("@")
    parts = path.strip("/").split("/")
    repo, inside = "/".join(parts[:2]), parts[2:]
    if not _REPO.fullmatch(repo) or any(part in (".", "..") for part in parts):
        return None
    if not all(_PART.fullmatch(part) for part in inside):
        return None
    return HubReference(repo, "/".join(inside), revision)


def cache_folder() -> Path:
    """Return where Hugging Face keeps its downloads."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME")
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return (Path(home) if home else default).expanduser() / "hub"


def resolve(text: str | Path) -> Path:
    """Return the local path of a folder, file or reference.

    Raises:
        DictionaryFilesMissing: It is in no cache; the message has the line that downloads it.
    """
    local = Path(text).expanduser()
    reference = None if isinstance(text, Path) else parse_reference(text)
    if reference is None or (not str(text).startswith("hf://") and local.exists()):
        return local.absolute()
    found = _snapshot(reference)
    if found is not None and (found / reference.inside).exists():
        return found / reference.inside
    size = size_of(reference.repo)
    what = f"{reference.inside} of {reference.repo}" if reference.inside else reference.repo
    raise DictionaryFilesMissing(
        f"{what}{f' ({size} in all)' if size else ''} is not in the local cache {cache_folder()}.",
        kept="Nothing was downloaded: CircuitScope works offline.",
        hint=f"Download it once with: {reference.download_line}",
    )


def as_written(text: str) -> str:
    """Return what stands for a folder or reference in settings: an absolute path, or itself."""
    local = Path(text).expanduser()
    known = parse_reference(text)
    return text if known is not None and not local.exists() else str(local.absolute())


def cached_repositories() -> list[str]:
    """Return the repositories in the local cache, newest first."""
    try:
        folders = [item for item in cache_folder().glob("models--*--*") if item.is_dir()]
        folders.sort(key=lambda item: item.stat().st_mtime, reverse=True)
    except OSError:
        return []
    names = (item.name.removeprefix("models--").split("--") for item in folders)
    return ["/".join(parts) for parts in names if len(parts) == 2]


def _snapshot(reference: HubReference) -> Path | None:
    """Return a repository's newest downloaded state, or that of the revision asked for."""
    root = cache_folder() / f"models--{reference.repo.replace('/', '--')}"
    snapshots = root / "snapshots"
    wanted = reference.revision or "main"
    try:
        commit = (root / "refs" / wanted).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = wanted
    if _PART.fullmatch(commit) and (snapshots / commit).is_dir():
        return snapshots / commit
    if reference.revision or not snapshots.is_dir():
        return None
    others = [item for item in snapshots.iterdir() if item.is_dir()]
    return max(others, key=lambda item: item.stat().st_mtime, default=None)
