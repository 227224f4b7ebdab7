"""Bring signals of the session, from whatever thread, to slots on the window's thread."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from psygnal import SignalInstance
from PySide6.QtCore import QObject, Qt, QThread, Signal
from shiboken6 import isValid


class _Relay(QObject):
    """Carry one signal's arguments over to the owner's thread."""

    arrived = Signal(object)

    def __init__(self, slot: Callable[..., None], owner: QObject) -> None:
        super().__init__(owner)
        self._slot = slot
        self.arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def hear(self, *args: Any) -> None:
        """Take the arguments; at once on the window's own thread, queued from any other."""
        if QThread.currentThread() == self.thread():
            self._deliver(args)
        else:
            self.arrived.emit(args)

    def _deliver(self, args: tuple[Any, ...]) -> None:
        try:
            self._slot(*args)
        except Exception:  # noqa: BLE001 - a widget's fault must not undo the commit it hears of
            sys.excepthook(*sys.exc_info())


def to_gui(signal: SignalInstance, slot: Callable[..., None], owner: QObject) -> None:
    """Call a slot on the window's thread whenever a psygnal signal is emitted.

    Args:
        signal: The signal; it may be emitted from any thread.
        slot: Called with the signal's arguments; with as many as it takes.
        owner: The widget the slot belongs to; the connection ends with it.
    """
    relay = _Relay(slot, owner)

    def hear(*args: Any) -> None:
        if isValid(relay):
            relay.hear(*args)

    def leave(*_args: Any) -> None:
        with contextlib.suppress(ValueError):
            signal.disconnect(hear)

    signal.connect(hear, check_nargs=False)
    owner.destroyed.connect(leave)
