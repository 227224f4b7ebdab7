"""Tell how a job ended, in the status line; the focus stays where it is.

A window in the background asks for attention in the task bar, as the desktop does it.
"""

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.panels.jobs import QUIET
from circuitscope.app.words import seconds, tr
from circuitscope.session.jobs import Job

_WORTH_ATTENTION = 5.0
"""Seconds after which a user may have gone elsewhere."""


class Notices(QObject):
    """Watch the jobs of a desk; ends with its window."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        desk.watch.job_added.connect(self._follow)

    def _follow(self, job: Job) -> None:
        if not isinstance(job.request, QUIET):
            to_gui(job.changed, self._heard, self)

    def _heard(self, job: Job) -> None:
        if not job.is_over:
            return
        words = {
            "done": tr("{0}: done in {1}").format(job.title, seconds(job.seconds)),
            "cancelled": tr("{0}: cancelled").format(job.title),
        }
        reason = job.error.message if job.error is not None else ""
        self._desk.window.say(words.get(job.state, f"{job.title}: {reason}"))
        if job.seconds > _WORTH_ATTENTION and not self._desk.window.isActiveWindow():
            QApplication.alert(self._desk.window)
