"""Write files whole or not at all, and say in plain words why one could not be written."""

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from circuitscope.core.errors import ExchangeError

_HINTS = {
    errno.ENOSPC: "Free some space on this disk, or choose another folder.",
    errno.EDQUOT: "Your quota on this disk is used up. Free some space, or choose another folder.",
    errno.EACCES: "Choose a folder that you may write to, or change its permissions.",
    errno.EPERM: "Choose a folder that you may write to, or change its permissions.",
    errno.EROFS: "This disk is read-only. Choose a folder on another one.",
    errno.ENOENT: "The folder does not exist. Make it first, or choose another one.",
    errno.ENOTDIR: "A part of the path is a file, not a folder. Choose another path.",
    errno.EISDIR: "There is a folder of that name. Choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


def save_bytes(path: Path | str, content: bytes) -> None:
    """Write a file through a temporary one beside it, so that it is the old or the new, whole.

    Args:
        path: Where to; a symbolic link is followed, and the mode of a file there is kept.
        content: What to write.

    Raises:
        ExchangeError: The folder is missing or read-only, the disk full, the name impossible.
    """
    target = Path(path)
    try:
        target = target.resolve()
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        _replace(target, content)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ExchangeError(
            f"{target.name} could not be written to {target.parent}: {reason}.",
            kept="Nothing was changed; a file of that name, if there is one, is as it was.",
            hint=_HINTS.get(error.errno or 0, "Choose another place."),
        ) from error


def _replace(target: Path, content: bytes) -> None:
    mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
    number, name = tempfile.mkstemp(prefix=".circuitscope-", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
