"""What an open project holds: findings by name, their drawings, undo over all of them, attachments.

`project.file` adds the file that it comes from and goes to.
"""

from collections import OrderedDict
from collections.abc import Mapping

from psygnal import Signal

from circuitscope.core.circuit import Circuit, Finding
from circuitscope.core.errors import ProjectError
from circuitscope.project import compaction, drawings, findings, history, originals
from circuitscope.project.drawing import Drawing
from circuitscope.project.drawings import DrawingInfo
from circuitscope.project.edit import Edit
from circuitscope.project.findings import FindingInfo, Packed
from circuitscope.project.listing import Circuits, free_name, named, ordered
from circuitscope.project.originals import Original, PackedFile
from circuitscope.project.working_copy import WorkingCopy

_KEPT_CIRCUITS = 8


class Contents:
    """Read and add to a working copy.

    Attributes:
        contents: The project's own rows (names, order, deleted flags, notes) as a drawing.
        findings_changed: Emitted after a finding was added, renamed, moved, deleted or brought
            back.

    Args:
        copy: The open project's working copy.
    """

    findings_changed = Signal()

    def __init__(self, copy: WorkingCopy) -> None:
        self._copy = copy
        self._drawings: dict[str, Drawing] = {}
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()
        self._infos: list[FindingInfo] | None = None
        self.contents = self._drawing("")
        self.contents.changed.connect(self._contents_changed)

    @property
    def project_id(self) -> str:
        """Return the id that stays with a project through renaming and copying."""
        return self._copy.meta("project_id") or ""

    def findings(self) -> list[FindingInfo]:
        """Return the findings in the order the user gave them, deleted ones left out."""
        return ordered(self.added(), self.contents.of_kind("order"))

    def added(self) -> list[FindingInfo]:
        """Return the findings in order of adding, deleted ones left out."""
        deleted = self.contents.of_kind("deleted")
        return [info for info in self._all_infos() if info.id not in deleted]

    def finding(self, which: str) -> FindingInfo:
        """Return one finding by id or name.

        Raises:
            ProjectError: There is none; the message lists those that are.
        """
        infos = self._all_infos()
        for info in infos:
            if info.id == which:
                return info
        for info in self.added():
            if info.name == which:
                return info
        names = ", ".join(repr(info.name) for info in self.added()[:10]) or "none yet"
        raise ProjectError(
            f"The project has no result called {which!r}.",
            kept="Nothing was changed.",
            hint=f"Its results are: {names}.",
        )

    def read_finding(self, which: str) -> Finding:
        """Read a finding of any kind by id or name, checked against its digests.

        Raises:
            DamagedProject: It cannot be trusted.
            ProjectError: There is none.
        """
        info = self.finding(which)
        if info.kind == "circuit":
            return self.circuit(info.id)
        with self._copy.reading() as connection:
            return findings.read_finding(connection, info.id)

    def circuit(self, which: str) -> Circuit:
        """Read a circuit by id or name, checked against its digests; the last few are kept.

        Raises:
            DamagedProject: It cannot be trusted.
            ProjectError: There is none.
        """
        finding_id = self.finding(which).id
        if finding_id not in self._circuits:
            with self._copy.reading() as connection:
                found = findings.read_finding(connection, finding_id)
            if not isinstance(found, Circuit):
                raise ProjectError(f"{which!r} is not a circuit.", kept="Nothing was changed.")
            self._circuits[finding_id] = found
            if len(self._circuits) > _KEPT_CIRCUITS:
                self._circuits.popitem(last=False)
        self._circuits.move_to_end(finding_id)
        return self._circuits[finding_id]

    def circuits(self) -> Mapping[str, Circuit]:
        """Return the circuits by name, in order of adding, each read when it is asked for."""
        return Circuits(self)

    def add_finding(self, finding: Finding | Packed, name: str = "") -> str:
        """Store a finding in one transaction.

        Args:
            finding: It is kept as it is, for ever; large ones come packed.
            name: What the list calls it; a number is added where the name is taken. Empty takes
                the prompt, or the kind.

        Returns:
            The finding's id.

        Raises:
            ProjectError: It cannot be written; nothing was added.
        """
        packed = finding if isinstance(finding, Packed) else findings.pack_finding(finding)
        wanted = name.strip() or " ".join(packed.summary["prompt"].split())[:60] or packed.kind
        taken = {info.name for info in self._all_infos()}
        with self._copy.transaction() as connection:
            finding_id = findings.write_finding(connection, packed, free_name(wanted, taken))
        self._infos = None
        self.findings_changed.emit()
        return finding_id

    add = add_finding

    def drawing(self, which: str) -> Drawing:
        """Return a drawing by its id, or a circuit's first one by the circuit's id or name.

        There is one object for each drawing.

        Raises:
            ProjectError: There is no such finding or drawing.
        """
        return self._drawing(self._drawing_id(which))

    def drawings(self, which: str) -> list[DrawingInfo]:
        """Return the drawings of a circuit, by id or name; the first one first."""
        return drawings.drawings_of(self.contents, self.finding(which).id)

    def add_drawing(self, which: str, name: str = "", like: str = "") -> str:
        """Add a further drawing of a circuit; undoable.

        Args:
            which: The circuit, by id or name.
            name: What the drawing is called; a number is added where the name is taken.
            like: Id of the drawing that it begins as a copy of; left out, it begins empty.

        Returns:
            The drawing's id.
        """
        drawing_id = drawings.new_drawing_id(self.finding(which).id)
        copied = drawings.drawing_info(self.contents, like).name if like else ""
        edit = drawings.add_drawing(self, drawing_id, name or copied, copied)
        with self._copy.transaction() as connection:
            history.seed(connection, drawing_id, self._drawing(like).rows if like else {})
        self.contents.commit(edit)
        return drawing_id

    def undo(self, *which: str) -> Edit | None:
        """Take back what was done last to some drawings or to the project's own rows.

        Args:
            which: The drawings on screen, as for `drawing`; none looks at the project only.

        Returns:
            What was applied, or None where there is nothing to undo.
        """
        drawing = self._latest(which, undo=True)
        return drawing.undo() if drawing else None

    def redo(self, *which: str) -> Edit | None:
        """Do again what `undo` took back last; see there."""
        drawing = self._latest(which, undo=False)
        return drawing.redo() if drawing else None

    def undo_text(self, *which: str) -> str | None:
        """Return the menu text of what `undo` would take back, None where there is nothing."""
        drawing = self._latest(which, undo=True)
        return drawing.undo_text if drawing else None

    def redo_text(self, *which: str) -> str | None:
        """Return the menu text of what `redo` would do again, None where there is nothing."""
        drawing = self._latest(which, undo=False)
        return drawing.redo_text if drawing else None

    def attach_original(
        self, name: str, data: bytes | PackedFile, kind: str, finding_id: str | None = None
    ) -> str:
        """Keep an imported file byte for byte; returns its id."""
        with self._copy.transaction() as connection:
            return originals.write(connection, name, data, kind, finding_id)

    def originals(self) -> list[Original]:
        """Return what files are attached."""
        with self._copy.reading() as connection:
            return originals.entries(connection)

    def original(self, original_id: str) -> bytes:
        """Return an attached file's bytes.

        Raises:
            DamagedProject: They are not the ones attached.
        """
        with self._copy.reading() as connection:
            return originals.read(connection, original_id)

    def compact(self) -> int:
        """Remove deleted findings and drawings for good, with all that is theirs; no undo.

        The project's own history (names, order, deletions) goes with them, because it could
        bring them back. Drawings that stay keep theirs.

        Returns:
            How many findings and drawings were removed.

        Raises:
            ProjectError: It cannot be written; nothing was removed.
        """
        gone = list(self.contents.of_kind("deleted"))
        if gone:
            with self._copy.transaction() as connection:
                compaction.remove_findings(connection, gone)
            self._drawings = {
                name: one for name, one in self._drawings.items()
                if not {name, drawings.circuit_of(name)} & set(gone)
            }  # fmt: skip
            for finding_id in gone:
                self._circuits.pop(finding_id, None)
            self._infos = None
            self.contents.reload()
            self.findings_changed.emit()
        return len(gone)

    def settle(self, name: str = "As delivered") -> None:
        """Let undo end here: each drawing is kept under a name, and what led to it is forgotten.

        For projects that are handed on: the reader's undo takes back the reader's own changes.

        Raises:
            ProjectError: It cannot be written; nothing was forgotten.
        """
        with self._copy.transaction() as connection:
            history.settle(connection, name)
        for drawing in self._drawings.values():
            drawing.reload()

    def _drawing(self, circuit_id: str) -> Drawing:
        if circuit_id not in self._drawings:
            self._drawings[circuit_id] = Drawing(self._copy, circuit_id)
        return self._drawings[circuit_id]

    def _drawing_id(self, which: str) -> str:
        if drawings.is_further(which):
            return drawings.drawing_info(self.contents, which).id
        return self.finding(which).id

    def _latest(self, which: tuple[str, ...], *, undo: bool) -> Drawing | None:
        ids = ["", *(self._drawing_id(one) for one in which if one)]
        with self._copy.reading() as connection:
            found = history.latest(connection, ids, undo=undo)
        return None if found is None else self._drawing(found)

    def _contents_changed(self, edit: Edit) -> None:
        self._infos = None
        if any(key.kind != "text" for key in edit.after):
            self.findings_changed.emit()

    def _all_infos(self) -> list[FindingInfo]:
        """Return every finding under its present name; names are made unique in this order."""
        if self._infos is None:
            with self._copy.reading() as connection:
                infos = findings.read_infos(connection)
            self._infos = named(infos, self.contents.of_kind("name"))
        return self._infos
