"""The file a project belongs to: its name, whether it may be written, who holds it."""

import os
from pathlib import Path

from circuitscope.core.errors import ProjectError, ProjectLocked
from circuitscope.project.lock import FileLock, document_lock_path, try_lock


def absolute(path: str | Path) -> Path:
    """Return a path without "~" and "..", links left as they are."""
    # Symbolic links stay in the name: the user chose it, and Save follows it again.
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100


def same_file(document: Path, other: Path | None) -> bool:
    """Say whether two paths lead to one file."""
    return other is not None and os.path.realpath(document) == os.path.realpath(other)


def check_target(document: Path, *, overwrite: bool) -> None:
    """Make sure that a document may be made here.

    Raises:
        ProjectError: There is no such folder, or a file is there and may not be overwritten.
    """
    if not document.parent.is_dir():
        raise ProjectError(
            f"There is no folder {document.parent}.", kept="Nothing was written.",
            hint="Make the folder first, or choose another.",
        )  # fmt: skip
    if document.is_dir():
        raise ProjectError(f"{document} is a folder.", hint="Choose the name of a file.")
    if document.exists() and not overwrite:
        raise ProjectError(
            f"{document.name} exists already.", kept="It was not changed.",
            hint="Choose another name, or say that it may be overwritten.",
        )  # fmt: skip


def lock_document(document: Path) -> FileLock:
    """Hold a document against other windows and other processes.

    Raises:
        ProjectLocked: It is held already.
        ProjectError: The folder for locks cannot be used.
    """
    try:
        lock = try_lock(document_lock_path(document))
    except OSError as error:
        raise ProjectError(
            f"The folder for locks cannot be used: {error.strerror or error}.",
            kept="No project was changed.",
        ) from None
    if lock is None:
        raise ProjectLocked(
            f"{document.name} is open already, here or in another program.",
            kept="Nothing was changed.",
            hint="Close it there, or open it for reading only.",
        )
    return lock
