"""Check a project file: what is damaged, by name, and a new file for what can be read."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QListWidget, QStackedWidget

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.asking import AskingDialog
from circuitscope.app.widgets import EmptyState, button, text_label
from circuitscope.app.words import plural, tr
from circuitscope.engine.soundness import Checked
from circuitscope.session.soundness import check_file

_SUFFIX = ".circuitscope"


class SoundnessDialog(AskingDialog):
    """Check in the engine process; the file is never changed.

    Args:
        desk: Session and window.
        path: The file to check.
    """

    def __init__(self, desk: Desk, path: Path) -> None:
        super().__init__(desk, tr("Check project file"), (620, 440))
        self._path = path
        self._rescued = ""
        column = self._column
        column.addWidget(text_label(path.name, "heading"))
        self._told = text_label(tr("Checking pages, every digest and every row …"), "quiet")
        self._told.setWordWrap(True)
        column.addWidget(self._told)
        self.list = QListWidget()
        self.list.setAccessibleName(tr("What was found"))
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._stack = QStackedWidget()
        self._stack.addWidget(EmptyState(
            desk.palette, "search", tr("The file is only read"),
            tr("Whatever is found, the file stays as it is."),
        ))  # fmt: skip
        self._stack.addWidget(EmptyState(
            desk.palette, "check", tr("All is well"),
            tr("Every page, digest and row of the file is as it was written."),
        ))  # fmt: skip
        self._stack.addWidget(self.list)
        column.addWidget(self._stack, 1)
        row = QHBoxLayout()
        row.setSpacing(8)
        self.save = button(tr("Save what can be read…"), "", self._ask_where)
        self.save.setEnabled(False)
        row.addWidget(self.save)
        row.addStretch()
        self.open_it = button(tr("Open what was saved"), "", self._open)
        self.open_it.setVisible(False)
        row.addWidget(self.open_it)
        close = button(tr("Close"), "primary", self.reject)
        close.setDefault(True)
        row.addWidget(close)
        column.addLayout(row)
        self._await(check_file(desk.session, path))

    def _ask_where(self) -> None:
        start = str(self._path.with_name(f"{self._path.stem} rescued{_SUFFIX}"))
        out, _ = QFileDialog.getSaveFileName(
            self, tr("Save what can be read"), start, f"CircuitScope (*{_SUFFIX})"
        )
        if out:
            self.rescue(Path(out))

    def rescue(self, out: Path) -> None:
        """Save what can be read to a new file."""
        out = out if out.suffix == _SUFFIX else out.with_name(out.name + _SUFFIX)
        self.save.setEnabled(False)
        self._told.setText(tr("Saving what can be read …"))
        self._await(check_file(self._desk.session, self._path, out))

    def _came_back(self) -> None:
        self._told.setText("")
        self.save.setEnabled(True)

    def _answered(self, result: Any) -> None:
        assert isinstance(result, Checked)
        self.list.clear()
        if result.rescued is None:
            n = len(result.problems)
            self._told.setText(
                tr("{0}. The file was not changed.").format(plural(n, "problem", "problems"))
                if n
                else ""
            )
            self.save.setEnabled(bool(n))
            self._stack.setCurrentIndex(2 if n else 1)
            self.list.addItems([f"{one.where}: {one.what}" for one in result.problems])
            return
        saved = result.rescued
        taken = ", ".join(f"{n} {what}" for what, n in saved.taken.items() if n)
        self._told.setText(tr("Saved to {0}: {1}.").format(saved.path.name, taken or tr("nothing")))
        self.list.addItems(list(saved.lost) or [tr("Nothing was lost.")])
        self._stack.setCurrentIndex(2)
        self._rescued = str(saved.path)
        self.open_it.setVisible(True)

    def _open(self) -> None:
        self.accept()
        self._desk.window.open_path(self._rescued)
