"""Do something once, soon, however often it is asked for: panels rebuild after a burst of news."""

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer


class Later(QTimer):
    """Call a slot once per burst, when the event loop comes round or some time later.

    Args:
        owner: The widget the slot belongs to; the timer ends with it.
        slot: What is called.
    """

    def __init__(self, owner: QObject, slot: Callable[[], object]) -> None:
        super().__init__(owner)
        self.setSingleShot(True)
        self.timeout.connect(slot)

    def within(self, ms: int = 0) -> None:
        """Call the slot after so many milliseconds at most; an earlier call asked for stands."""
        if not self.isActive() or self.remainingTime() > ms:
            self.start(ms)
