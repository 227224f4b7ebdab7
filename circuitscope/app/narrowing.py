"""A field that leaves only those rows of a table in which all its words occur."""

from PySide6.QtWidgets import QLineEdit

from circuitscope.app.table import Table
from circuitscope.app.words import tr


class Narrowing(QLineEdit):
    """Hide the rows of a table that do not hold what is typed, in any column shown.

    Args:
        table: What is narrowed.
        hint: Shown while nothing is typed.
    """

    def __init__(self, table: Table, hint: str) -> None:
        super().__init__()
        self._table = table
        self.setProperty("look", "search")
        self.setPlaceholderText(hint)
        self.setAccessibleName(tr("Filter"))
        self.setClearButtonEnabled(True)
        self.textChanged.connect(self._narrow)

    def _narrow(self, text: str) -> None:
        words = text.casefold().split()
        told = [at for at, column in enumerate(self._table.columns) if column.told]
        for row in self._table.rows():
            line = " ".join(row.text(at) for at in told).casefold()
            row.setHidden(not all(word in line for word in words))
