"""A drawing: what a user makes of a circuit, as rows that only edits change.

`commit` is the only way to change it. It checks the edit, writes rows and history in one
transaction, then changes memory and says so once; a failure leaves memory and file as they
were. The project's own rows (names, order, deleted flags) are a drawing with an empty
`circuit_id`, so renaming and deleting a circuit undo in the same way.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from psygnal import Signal

from circuitscope.core.rows import PROJECT_ROW_KINDS, ROW_KINDS, Row, RowKey
from circuitscope.project import history, verbs
from circuitscope.project.edit import Edit, apply_edit, change, check_edit, merge, plain_row
from circuitscope.project.history import Checkpoint, Entry
from circuitscope.project.wording import Key, short
from circuitscope.project.working_copy import WorkingCopy


class Drawing:
    """The rows of one circuit, or of the project itself where `circuit_id` is empty.

    Attributes:
        changed: Emitted once after every commit, undo and redo, with the edit that was applied;
            look at `edit.after` to see what to repaint.

    Args:
        copy: The open project's working copy.
        circuit_id: The circuit that is drawn, or the id of a further drawing of it, see
            `project.drawings`; it is the first part of the keys of all rows.
    """

    changed = Signal(Edit)

    def __init__(self, copy: WorkingCopy, circuit_id: str) -> None:
        self.circuit_id = circuit_id
        self._copy = copy
        with copy.reading() as connection:
            self._rows = history.read_rows(connection, circuit_id)
        self._merging: str | None = None

    def reload(self) -> None:
        """Read the rows anew, after something other than an edit changed them."""
        with self._copy.reading() as connection:
            self._rows = history.read_rows(connection, self.circuit_id)
        self._merging = None

    @property
    def rows(self) -> Mapping[RowKey, Row]:
        """Return all rows, read-only, always up to date."""
        return MappingProxyType(self._rows)

    def row(self, kind: str, id: Key) -> Row | None:
        """Return one row's fields; None where there is none."""
        return self._rows.get(RowKey(self.circuit_id, kind, str(id)))

    def of_kind(self, kind: str) -> dict[str, Row]:
        """Return the rows of one kind by id, in order of making."""
        return {key.id: row for key, row in self._rows.items() if key.kind == kind}

    def commit(self, edit: Edit) -> None:
        """Apply an edit, write it to the working copy and put it into the history.

        An edit that changes nothing is ignored. What was undone before is dropped from the
        history. An edit with the merge key of the one just committed joins it.

        Raises:
            EditConflict: The rows have changed since the edit was made.
            ProjectError: It cannot be written; nothing has changed.
        """
        edit = self._checked(edit)
        if edit.is_empty:
            return
        check_edit(self._rows, edit)
        joins = edit.merge_key is not None and edit.merge_key == self._merging
        with self._copy.transaction() as connection:
            history.write_rows(connection, edit)
            last = history.next_undo(connection, self.circuit_id) if joins else None
            history.forget_undone(connection, self.circuit_id)
            if last is None:
                history.record(connection, self.circuit_id, edit)
            else:
                joined = merge(last[1], edit)
                history.replace(connection, last[0], joined)
        # A drag that came back to its start left no entry that its next step could join.
        self._merging = None if last is not None and joined.is_empty else edit.merge_key
        self._apply(edit)

    def undo(self) -> Edit | None:
        """Take the last edit back.

        Returns:
            What was applied, or None where there is nothing to undo.
        """
        return self._step(undo=True)

    def redo(self) -> Edit | None:
        """Do the edit that was undone last once more.

        Returns:
            What was applied, or None where there is nothing to redo.
        """
        return self._step(undo=False)

    @property
    def undo_text(self) -> str | None:
        """Return the label of the edit that `undo` takes back, None where there is none."""
        with self._copy.reading() as connection:
            return history.next_label(connection, self.circuit_id, undo=True)

    @property
    def redo_text(self) -> str | None:
        """Return the label of the edit that `redo` does again, None where there is none."""
        with self._copy.reading() as connection:
            return history.next_label(connection, self.circuit_id, undo=False)

    def history(self) -> list[Entry]:
        """Return the edits of this drawing, oldest first, undone ones at the end."""
        with self._copy.reading() as connection:
            return history.entries(connection, [self.circuit_id])

    def row_history(self, kind: str, id: Key) -> list[tuple[str, Row]]:
        """Return what edits, undone ones left out, made of one row, with their times; oldest first.

        Edits that took the row away are left out.
        """
        key = RowKey(self.circuit_id, kind, str(id))
        with self._copy.reading() as connection:
            return history.row_history(connection, key)

    def go_to(self, entry_id: int) -> None:
        """Undo or redo until the named entry is the last one done; 0 undoes everything.

        Raises:
            ProjectError: The history has no such entry.
        """
        with self._copy.reading() as connection:
            undo, steps = history.steps_to(connection, self.circuit_id, entry_id)
        for _ in range(steps):
            self._step(undo=undo)

    def add_checkpoint(self, name: str) -> int:
        """Keep the drawing as it is now under a name; returns the checkpoint's id."""
        with self._copy.transaction() as connection:
            return history.add_checkpoint(connection, self.circuit_id, name, self._rows)

    def checkpoints(self) -> list[Checkpoint]:
        """Return the kept states, oldest first."""
        with self._copy.reading() as connection:
            return history.checkpoints(connection, self.circuit_id)

    def restore(self, checkpoint_id: int) -> None:
        """Return to a checkpoint, as one edit that can be undone.

        Raises:
            ProjectError: There is no such checkpoint.
        """
        with self._copy.reading() as connection:
            name, rows = history.checkpoint_rows(connection, self.circuit_id, checkpoint_id)
        gone: dict[RowKey, Row | None] = dict.fromkeys(self._rows)
        # What a newer program or a stranger put there stays as it is.
        after = {key: row for key, row in {**gone, **rows}.items() if key.kind in self._kinds}
        self.commit(change(f"Return to “{short(name)}”", self._rows, after))

    # The verbs that notebooks use most; each commits and every other one is
    # `drawing.commit(verbs.something(drawing, ...))`.

    def group(self, keys: Iterable[Key], label: str, color: str | None = None) -> str:
        """Put nodes into a new group; returns its id."""
        group_id = verbs.new_id()
        self.commit(verbs.group(self, keys, label, color, group_id))
        return group_id

    def label(self, key: Key, text: str) -> None:
        """Name a node."""
        self.commit(verbs.label(self, key, text))

    def pin(self, *keys: Key) -> None:
        """Pin nodes."""
        self.commit(verbs.pin(self, *keys))

    def hide(self, *keys: Key) -> None:
        """Hide nodes."""
        self.commit(verbs.hide(self, *keys))

    def place(self, places: Mapping[Key, tuple[float, float]]) -> None:
        """Move nodes or groups to x, y in points."""
        self.commit(verbs.place(self, places))

    def set_view(self, view: str = "link_graph", **fields: Any) -> None:
        """Change thresholds and what a view shows."""
        self.commit(verbs.set_view(self, view, **fields))

    @property
    def _kinds(self) -> frozenset[str]:
        return ROW_KINDS if self.circuit_id else PROJECT_ROW_KINDS

    def _checked(self, edit: Edit) -> Edit:
        for key in edit.after:
            assert key.circuit_id == self.circuit_id, f"{key} belongs to another drawing"
            assert key.kind in self._kinds, f"a drawing has no rows of kind {key.kind!r}"
        after = {key: plain_row(row) for key, row in edit.after.items()}
        return Edit(edit.label, edit.before, after, edit.merge_key)

    def _step(self, *, undo: bool) -> Edit | None:
        find = history.next_undo if undo else history.next_redo
        with self._copy.reading() as connection:
            found = find(connection, self.circuit_id)
        if found is None:
            return None
        entry_id, recorded = found
        edit = recorded.inverse() if undo else recorded
        check_edit(self._rows, edit)
        with self._copy.transaction() as connection:
            history.write_rows(connection, edit)
            history.mark(connection, entry_id, undone=undo)
        self._merging = None
        self._apply(edit)
        return edit

    def _apply(self, edit: Edit) -> None:
        apply_edit(self._rows, edit)
        self.changed.emit(edit)
