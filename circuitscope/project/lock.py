"""Advisory locks that end with their process, however it ends.

Lock files lie in the user's state folder, never beside a document, so a shared or read-only
folder is no trouble. A process id would not do: ids come round again.
"""

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from circuitscope.core.places import state_home

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class FileLock:
    """Hold a lock file; made by `try_lock`."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle

    def release(self) -> None:
        """Give the lock back and remove its file; may be called twice."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        if sys.platform == "win32":
            os.close(handle)
            with contextlib.suppress(PermissionError):
                self.path.unlink(missing_ok=True)
            return
        # Removed while it is held: whoever waits on the old file sees that it is gone.
        self.path.unlink(missing_ok=True)
        os.close(handle)


def try_lock(path: Path) -> FileLock | None:
    """Take a lock at once; None where another process, or this one, holds it.

    Args:
        path: The lock file; its folder is made when missing.

    Raises:
        OSError: The file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        if not _try_lock(handle):
            os.close(handle)
            return None
        if _still_there(path, handle):
            return FileLock(path, handle)
        os.close(handle)


def _still_there(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def document_lock_path(path: Path) -> Path:
    """Return where the lock of a document lies: one for all links that lead to it."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
    return state_home() / "locks" / f"{name}.lock"
