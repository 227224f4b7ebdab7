"""The reason for the PySide6 pin: some releases lose references to None and True."""

import subprocess
import sys

import pytest

# In a process of its own: where the fault exists, it ends the interpreter.
CODE = """
import sys
from PySide6.QtCore import QObject, Signal

class Sender(QObject):
    sent = Signal(bool)
    named = Signal(object)

sender = Sender()
sender.sent.connect(lambda value: True)
sender.named.connect(lambda value: None)
sender.sent.emit(True)
sender.named.emit(None)
before = sys.getrefcount(True), sys.getrefcount(None)
for _ in range(100):
    sender.sent.emit(True)
    sender.named.emit(None)
after = sys.getrefcount(True), sys.getrefcount(None)
sys.stdout.write(f"{after[0] - before[0]} {after[1] - before[1]}")
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None and True are immortal from 3.12 on")
def test_signals_keep_references_to_true_and_none() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lost = [-int(change) for change in done.stdout.split()]
    assert max(lost) < 20, f"100 emits lost {lost[0]} references to True and {lost[1]} to None"
