"""The document: the open project, the circuit on screen, what is chosen of it, and its edits.

Nothing here computes; the session adds the engine.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from psygnal import Signal

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import ProjectError
from circuitscope.graph.prune import Pruned
from circuitscope.graph.view import View, view_of
from circuitscope.project import recovery, verbs
from circuitscope.project.drawing import Drawing
from circuitscope.project.edit import Edit
from circuitscope.project.file import ProjectFile
from circuitscope.project.recovery import LeftOver
from circuitscope.session import showing
from circuitscope.session.preferences import PreferenceFile, Preferences
from circuitscope.session.showing import Focus, SearchResult, ViewSettings

_SAME_DRAG = 1.0
_LINK_GRAPH = "link_graph"


class Document:
    """Hold what is open and what is shown and chosen of it.

    Attributes:
        preferences: What the user chose once for all; recent files are noted there.
        selection: Chosen nodes of the active circuit, in the order they were chosen.
        focus: What of it the canvas is restricted to.
    """

    project_opened = Signal(object)
    """Emitted with the `ProjectFile`."""
    project_closed = Signal()
    selection_changed = Signal(object)
    """Emitted with the selection: a tuple of node indices in the order they were chosen."""
    focus_changed = Signal(object)
    """Emitted with the `Focus`, None when it is left."""
    active_changed = Signal(str)
    """Emitted with the id of the circuit that is active now, "" for none."""

    def __init__(self) -> None:
        self.preferences = PreferenceFile()
        self.preferences.changed.connect(self._sign)
        self.selection: tuple[int, ...] = ()
        self.focus: Focus | None = None
        self._project: ProjectFile | None = None
        self._active = ""
        self._drawing_id = ""
        self._last: dict[str, str] = {}
        self._view: View | None = None
        self._pruned: Pruned | None = None
        self._drag = (frozenset[str](), 0.0, "")

    # What is open

    @property
    def project(self) -> ProjectFile | None:
        """Return the open project."""
        return self._project

    @property
    def is_modified(self) -> bool:
        """Say whether there is something to save."""
        return self._project is not None and self._project.is_modified

    def new_project(
        self, path: Path | str | None = None, *, overwrite: bool = False
    ) -> ProjectFile:
        """Start an empty project; without a path it is untitled until `save_as`."""
        return self._adopt(ProjectFile.create(path, overwrite=overwrite))

    def open_project(self, path: Path | str, *, read_only: bool = False) -> ProjectFile:
        """Open a project and show its first circuit; the one open before is closed after that."""
        project = self._adopt(ProjectFile.open(path, read_only=read_only))
        self.preferences.add_recent("projects", path)
        return project

    def save(self, *, overwrite: bool = False) -> Path:
        """Save, and return where; see `ProjectFile.save` for `overwrite` and errors."""
        project = self._need_project()
        project.save(overwrite=overwrite)
        assert project.path is not None
        return project.path

    def save_as(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Save under another name and go on working there."""
        project = self._need_project()
        project.save_as(path, overwrite=overwrite)
        assert project.path is not None
        self.preferences.add_recent("projects", project.path)
        return project.path

    def close(self) -> None:
        """Close the project; changes that were not saved are dropped, so ask before."""
        project, self._project = self._project, None
        self._last = {}
        if project is None:
            return
        self._show("")
        project.close()
        self.project_closed.emit()

    @staticmethod
    def recoverable() -> list[LeftOver]:
        """Return the work that a crash left behind, newest first."""
        return recovery.recoverable()

    def recover(self, left_over: LeftOver) -> ProjectFile:
        """Open work that a crash left behind."""
        return self._adopt(recovery.recover(left_over))

    @staticmethod
    def discard(left_over: LeftOver) -> None:
        """Delete work that a crash left behind."""
        recovery.discard(left_over)

    # What is shown

    @property
    def active(self) -> str:
        """Return the id of the active circuit, "" for none."""
        return self._active

    @property
    def circuit(self) -> Circuit | None:
        """Return the active circuit."""
        if self._project is None or not self._active:
            return None
        return self._project.circuit(self._active)

    @property
    def drawing(self) -> Drawing | None:
        """Return the drawing over the active circuit: its first, or the one chosen of several."""
        if self._project is None or not self._active:
            return None
        return self._project.drawing(self._drawing_id)

    @property
    def active_drawing(self) -> str:
        """Return the id of the drawing on screen, "" for none."""
        return self._drawing_id

    def activate(self, circuit_id: str, drawing_id: str = "") -> None:
        """Show another circuit or another drawing of it; clears the selection.

        Args:
            circuit_id: The circuit; "" shows none.
            drawing_id: One of its drawings, see `ProjectFile.drawings`; left out, the one that was
                on screen last.
        """
        wanted = drawing_id or self._last_drawing(circuit_id)
        if (circuit_id, wanted) == (self._active, self._drawing_id):
            return
        if circuit_id:
            self._need_project().circuit(circuit_id)
            self._need_project().drawing(wanted)
        self._show(circuit_id, wanted)

    def select(self, indices: Iterable[int], *, add: bool = False, toggle: bool = False) -> None:
        """Choose nodes of the active circuit.

        Args:
            indices: The nodes.
            add: Keep those chosen before.
            toggle: With `add`, drop those that were chosen already.
        """
        wanted = [int(index) for index in indices]
        before = list(self.selection) if add else []
        kept = [index for index in before if not (toggle and index in wanted)]
        new = [index for index in wanted if index not in before]
        chosen = tuple(dict.fromkeys([*kept, *new]))
        if chosen != self.selection:
            self.selection = chosen
            self.selection_changed.emit(chosen)

    def set_focus(self, focus: Focus | None) -> None:
        """Let the canvas step back from all but some nodes, or from none; nothing is edited."""
        if focus is not self.focus:
            self.focus = focus
            self.focus_changed.emit(focus)

    def selected_keys(self) -> list[str]:
        """Return the key texts of the selected nodes."""
        circuit = self.circuit
        return [str(circuit.nodes.key(index)) for index in self.selection] if circuit else []

    def view(self) -> ViewSettings:
        """Return the thresholds and switches of the active view."""
        drawing = self.drawing
        if drawing is None:
            return ViewSettings()
        return showing.view_settings(drawing.rows, drawing.circuit_id, _LINK_GRAPH)

    def set_view(self, merge_key: str | None = None, **changes: Any) -> None:
        """Change fields of `ViewSettings`; undoable.

        Args:
            merge_key: Same text for all steps of one drag. Left out, changes of the same fields
                less than a second apart join into one step.
            changes: New values by field.
        """
        self.edit(verbs.set_view, _LINK_GRAPH, merge_key or self._drag_of(changes), **changes)

    def shown(self) -> View | None:
        """Return what the active view shows and why the rest is hidden."""
        circuit, drawing = self.circuit, self.drawing
        if circuit is None or drawing is None:
            return None
        if self._view is None:
            self._view = view_of(circuit, dict(drawing.rows), _LINK_GRAPH)
        return self._view

    def pruned(self) -> Pruned:
        """Return `shown` as masks over the active circuit; only with an active circuit."""
        circuit, view = self.circuit, self.shown()
        assert circuit is not None, "no circuit is active"
        assert view is not None
        if self._pruned is None:
            self._pruned = showing.as_pruned(circuit, view)
        return self._pruned

    def label(self, index: int) -> str:
        """Return the user's label of a node, else its automatic one, else a name from its key."""
        circuit, drawing = self.circuit, self.drawing
        if circuit is None or drawing is None:
            return ""
        return showing.label_of(circuit, drawing.rows, drawing.circuit_id, index)

    def search(self, text: str) -> SearchResult:
        """Find nodes of the active circuit by a query such as "layer:4 kind:feature texas"."""
        circuit, drawing, view = self.circuit, self.drawing, self.shown()
        if circuit is None or drawing is None or view is None:
            return SearchResult()
        return showing.search(circuit, drawing.rows, drawing.circuit_id, view.nodes, text)

    # Editing

    def edit(self, verb: Callable[..., Edit], *arguments: Any, **options: Any) -> Edit:
        """Commit `verb(drawing, *arguments, **options)`, a verb of `project.verbs`."""
        drawing = self.drawing
        if drawing is None:
            raise ProjectError("No circuit is open.", hint="Open or trace one first.")
        edit = verb(drawing, *arguments, **options)
        drawing.commit(edit)
        return edit

    def edit_project(self, verb: Callable[..., Edit], *arguments: Any, **options: Any) -> Edit:
        """Commit `verb(project, ...)`, such as `verbs.rename_finding`."""
        project = self._need_project()
        edit = verb(project, *arguments, **options)
        project.contents.commit(edit)
        return edit

    def undo(self) -> bool:
        """Take back what was done last to the active drawing or the project; False if nothing."""
        return self._project is not None and self._project.undo(*self._on_screen()) is not None

    def redo(self) -> bool:
        """Do again what was taken back last; False if nothing."""
        return self._project is not None and self._project.redo(*self._on_screen()) is not None

    @property
    def undo_text(self) -> str:
        """Return what `undo` would take back, such as "Group 3 nodes", or ""."""
        return (self._project and self._project.undo_text(*self._on_screen())) or ""

    @property
    def redo_text(self) -> str:
        """Return what `redo` would bring back, or ""."""
        return (self._project and self._project.redo_text(*self._on_screen())) or ""

    def _sign(self, preferences: Preferences) -> None:
        if self._project is not None:
            self._project.author = preferences.projects.author

    def _adopt(self, project: ProjectFile) -> ProjectFile:
        self.close()
        self._project = project
        project.author = self.preferences.now.projects.author
        project.findings_changed.connect(self._findings_changed)
        self.project_opened.emit(project)
        self._show(self._first_circuit())
        return project

    def _first_circuit(self) -> str:
        infos = self._project.findings() if self._project is not None else []
        return next((info.id for info in infos if info.kind == "circuit"), "")

    def _findings_changed(self) -> None:
        if self._project is None or not self._active:
            return
        if self._active not in {info.id for info in self._project.findings()}:
            self._show(self._first_circuit())
        elif self._drawing_id not in self._drawing_ids(self._active):
            self._show(self._active)

    def _on_screen(self) -> tuple[str, ...]:
        return (self._drawing_id,) if self._active else ()

    def _drawing_ids(self, circuit_id: str) -> list[str]:
        return [info.id for info in self._need_project().drawings(circuit_id)]

    def _last_drawing(self, circuit_id: str) -> str:
        last = self._drawing_id if circuit_id == self._active else self._last.get(circuit_id, "")
        known = self._drawing_ids(circuit_id) if circuit_id else []
        return last if last in known else circuit_id

    def _show(self, circuit_id: str, drawing_id: str = "") -> None:
        self._active, self._view, self._pruned = circuit_id, None, None
        self._drawing_id = self._last[circuit_id] = drawing_id or circuit_id
        self._drag = (frozenset(), 0.0, "")
        drawing = self.drawing
        if drawing is not None:
            drawing.changed.connect(self._drawing_changed, unique=True)
        self.set_focus(None)
        self.select(())
        self.active_changed.emit(circuit_id)

    def _drawing_changed(self, edit: Edit) -> None:
        if any(key.kind in showing.SHOWN_BY for key in edit.after) or self.view().filter:
            self._view = self._pruned = None

    def _drag_of(self, changes: dict[str, Any]) -> str:
        fields, last, key = self._drag
        now = time.monotonic()
        if frozenset(changes) != fields or now - last > _SAME_DRAG:
            key = f"view {now}"
        self._drag = (frozenset(changes), now, key)
        return key

    def _need_project(self) -> ProjectFile:
        if self._project is None:
            raise ProjectError("No project is open.", hint="Open one, or start a new one.")
        return self._project
