"""Read a feature on a text of the user's own, in the loaded model."""

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.panels.example_text import example_html
from circuitscope.app.widgets import section
from circuitscope.app.words import plain, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKey
from circuitscope.evidence.records import Example, FeaturePage
from circuitscope.session import feature_jobs
from circuitscope.session.jobs import Job


class OwnText(QWidget):
    """Take a text and show where a feature is active in it.

    Args:
        desk: Session and colours.
        key: The feature's node.
        page: What is known of the feature.
    """

    def __init__(self, desk: Desk, key: NodeKey, page: FeaturePage) -> None:
        super().__init__()
        self._desk, self._key, self._page = desk, key, page
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(section(tr("On a text of your own")))
        self.field = QLineEdit()
        self.field.setAccessibleName(tr("Text to read this feature on"))
        ready = self._desk.session.model.state == "ready"
        self.field.setEnabled(ready)
        self.field.setPlaceholderText(
            tr("Type a text and press Enter") if ready else tr("Load the model to try a text")
        )
        self.field.returnPressed.connect(self._read)
        column.addWidget(self.field)
        self.reading = QLabel()
        self.reading.setTextFormat(Qt.TextFormat.RichText)
        self.reading.setWordWrap(True)
        self.reading.hide()
        column.addWidget(self.reading)

    def _read(self) -> None:
        text = self.field.text().strip()
        if not text:
            return
        session = self._desk.session
        try:
            job = feature_jobs.read_feature(session, text, self._key, self._page.feature.digest)
        except CircuitScopeError as error:
            self._say(escape(error.message))
            return

        def hear(job: Job) -> None:
            if job.state == "done" and job.result is not None:
                self._show_reading(job)
            elif job.state == "failed" and job.error is not None:
                self._say(escape(job.error.message))

        to_gui(job.changed, hear, self)

    def _show_reading(self, job: Job) -> None:
        tokens, acts = job.result.tokens, job.result.activations
        peak = max(range(len(acts)), key=lambda at: acts[at])
        example = Example((), tokens, acts, peak if acts[peak] else -1, acts[peak])
        words = tr("largest {0}").format(plain(acts[peak])) if acts[peak] else tr("not active")
        most = max(self._page.maximum, acts[peak])
        self._say(f"{example_html(self._desk.palette, example, most)}<br>{escape(words)}")

    def _say(self, html: str) -> None:
        self.reading.setText(html)
        self.reading.show()
