"""One window a user: a second start hands its file to the window that is open, and ends.

1. Under a lock file, so that two starts at once do not both win, the start connects to the socket
   of the open window. Where one answers, it is told the path, and this start is over.
2. A socket that nobody answers is what a crash leaves: it is removed and made anew.
3. A socket that belongs to another user is neither talked to nor removed; this start then opens
   a window of its own that listens to nobody.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from circuitscope.core.places import state_home

log = logging.getLogger(__name__)

_CONNECT_MS, _ANSWER_MS, _LOCK_MS = 500, 3000, 5000
_LONGEST = 1 << 16
_TAKEN = b"taken\n"


def socket_name() -> str:
    """Return the socket's name, one for each user and state folder."""
    whose = f"{_user()}\n{state_home().resolve()}"
    return "circuitscope-" + hashlib.sha256(whose.encode()).hexdigest()[:24]


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


class Listener(QObject):
    """Hears of later starts.

    Args:
        parent: What it ends with.
    """

    wanted = Signal(str)
    """Emitted with the absolute path that a later start was given, "" for none."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._greet)

    def listen(self, name: str) -> bool:
        """Begin to listen; False where the name cannot be taken."""
        if not self._server.listen(name):
            log.info("later starts are not heard: %s", self._server.errorString())
        return self._server.isListening()

    def close(self) -> None:
        """Listen no more, and remove the socket."""
        self._server.close()

    def _greet(self) -> None:
        while (caller := self._server.nextPendingConnection()) is not None:
            caller.readyRead.connect(lambda caller=caller: self._hear(caller))
            caller.disconnected.connect(caller.deleteLater)
            self._hear(caller)

    def _hear(self, caller: QLocalSocket) -> None:
        if not caller.canReadLine():
            if caller.bytesAvailable() > _LONGEST:
                caller.abort()
            return
        path = _path_in(bytes(caller.readLine(_LONGEST).data()))
        if path is None:
            caller.abort()
            return
        caller.write(_TAKEN)
        caller.flush()
        caller.disconnectFromServer()
        self.wanted.emit(path)


def _path_in(line: bytes) -> str | None:
    """Return the path of a request, None where it is none of ours."""
    try:
        request = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    path = request.get("open") if isinstance(request, dict) else None
    return path if isinstance(path, str) else None


def hand_over(path: Path | str | None) -> Listener | None:
    """Give a path to the window that is open; None where it took it.

    Returns:
        What hears of later starts, where this start has to open a window itself.
    """
    name, listener = socket_name(), Listener()
    lock = QLockFile(str(state_home() / "window.lock"))
    if not lock.tryLock(_LOCK_MS):
        log.info("the lock of the first window cannot be had; a window of its own is opened")
        return listener
    try:
        socket = QLocalSocket()
        place = Path(_place_of(name))
        if not _is_ours(place):
            log.warning("%s belongs to another user and is left alone", place)
            return listener
        socket.connectToServer(name)
        if socket.waitForConnected(_CONNECT_MS):
            if _tell(socket, path):
                return None
            log.warning("the window that is open does not answer; another is opened")
            return listener
        QLocalServer.removeServer(name)
        listener.listen(name)
        return listener
    finally:
        lock.unlock()


def _place_of(name: str) -> str:
    """Return the file of a socket, as Qt chooses it; pipes of Windows have none."""
    from PySide6.QtCore import QDir

    return name if os.name == "nt" else QDir.tempPath() + "/" + name


def _is_ours(place: Path) -> bool:
    """Say whether a socket's file is this user's own, or there is none yet."""
    try:
        return place.lstat().st_uid == _user()
    except OSError:
        return True


def _tell(socket: QLocalSocket, path: Path | str | None) -> bool:
    wanted = str(Path(path).expanduser().absolute()) if path is not None else ""
    socket.write(json.dumps({"open": wanted}).encode() + b"\n")
    socket.flush()
    socket.waitForBytesWritten(_ANSWER_MS)
    while not socket.canReadLine():
        if not socket.waitForReadyRead(_ANSWER_MS):
            return False
    return bytes(socket.readLine().data()) == _TAKEN
