"""Signals reach the window's thread, and only while the widget lives."""

import threading

from psygnal import Signal
from PySide6.QtCore import QObject, QThread
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from circuitscope.app.bridge import to_gui


class _Sender:
    told = Signal(int)


def test_a_signal_of_another_thread_arrives_on_the_windows_thread(qtbot: QtBot) -> None:
    sender, owner, heard = _Sender(), QObject(), []
    to_gui(sender.told, lambda n: heard.append((n, QThread.currentThread())), owner)
    worker = threading.Thread(target=lambda: sender.told.emit(3))
    worker.start()
    worker.join()
    assert heard == []
    qtbot.waitUntil(lambda: bool(heard))
    assert heard == [(3, owner.thread())]


def test_the_connection_ends_with_the_widget(qapp: QApplication) -> None:
    sender, owner, heard = _Sender(), QObject(), []
    to_gui(sender.told, heard.append, owner)
    sender.told.emit(1)
    owner.deleteLater()
    qapp.sendPostedEvents(owner, 52)  # QEvent.DeferredDelete
    sender.told.emit(2)
    assert heard == [1]
    assert len(sender.told) == 0


def test_a_widgets_fault_does_not_reach_the_sender(qtbot: QtBot) -> None:
    sender, owner = _Sender(), QObject()

    def fail(_n: int) -> None:
        raise ZeroDivisionError

    to_gui(sender.told, fail, owner)
    with qtbot.captureExceptions() as caught:
        sender.told.emit(1)
    assert [kind for kind, _, _ in caught] == [ZeroDivisionError]
