"""Take labels that were made elsewhere over into the open project, a few milliseconds at a time.

Looked for when a project opens, another circuit is shown, a model was loaded, and when the user
comes back from another program. Only an evidence file that is new or has changed is read.
"""

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QApplication

from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.stepwise import Stepwise
from circuitscope.app.words import tr
from circuitscope.core.steps import Steps
from circuitscope.evidence.file import stamps
from circuitscope.project.file import ProjectFile
from circuitscope.session.feature_work import folders
from circuitscope.session.fresh_labels import renew_labels

_SOON_MS = 300


class FreshLabels(QObject):
    """Keep the labels that a project carries as new as the evidence beside its dictionaries."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self._seen: tuple[object, ...] = ()
        self._steps = Stepwise(self)
        self._steps.done.connect(self._told)
        self._later = Later(self, self.look)
        for signal in (desk.watch.project, desk.watch.active, desk.watch.model):
            signal.connect(lambda *_: self._later.within(_SOON_MS))
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.applicationStateChanged.connect(self._came_back)

    def _came_back(self, state: Qt.ApplicationState) -> None:
        if state is Qt.ApplicationState.ApplicationActive:
            self._later.within(_SOON_MS)

    def look(self) -> None:
        """Begin to take labels over where an evidence file has changed since the last look."""
        session = self._desk.session
        project = session.project
        if project is None or project.read_only:
            self._seen = ()
            return
        places = folders(session)
        seen = (id(project), *(stamp for place in places for stamp in stamps(place)))
        if seen != self._seen:
            self._seen = seen
            self._steps.start(self._while_open(project, renew_labels(project, places)))

    def _while_open(self, project: ProjectFile, work: Steps[int]) -> Steps[int]:
        while project is self._desk.session.project:
            try:
                next(work)
            except StopIteration as end:
                return int(end.value)
            yield
        return 0

    def _told(self, n: int) -> None:
        if n:
            self._desk.watch.contents.emit()
            self._desk.window.refresh()
            self._desk.window.say(tr("Newer labels of {0} features were taken over.").format(n))
