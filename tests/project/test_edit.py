"""Any edits, undone, redone, saved and loaded, keep the drawing what it should be."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from circuitscope.core.errors import EditConflict
from circuitscope.core.rows import RowKey
from circuitscope.project import verbs
from circuitscope.project.check import check_project
from circuitscope.project.edit import Edit, apply_edit, change, dump_rows, load_rows, merge
from circuitscope.project.file import ProjectFile

KEY, OTHER = RowKey("c", "pin", "a"), RowKey("c", "label", "b")


def test_inverse_takes_back() -> None:
    rows: dict = {}
    edit = change("x", rows, {KEY: {}, OTHER: {"text": "t"}})
    apply_edit(rows, edit)
    apply_edit(rows, edit.inverse())
    assert rows == {}


def test_conflict_changes_nothing() -> None:
    rows = {OTHER: {"text": "new"}}
    with pytest.raises(EditConflict):
        apply_edit(rows, Edit("x", {KEY: None, OTHER: {"text": "old"}}, {KEY: {}, OTHER: None}))
    assert rows == {OTHER: {"text": "new"}}


def test_merge_does_what_two_do() -> None:
    rows: dict = {KEY: {"n": 0}}
    first = change("A 1 → 2", rows, {KEY: {"n": 1}, OTHER: {"text": "t"}})
    middle = dict(rows)
    apply_edit(middle, first)
    second = change("A 2 → 3", middle, {KEY: {"n": 0}, OTHER: {"text": "u"}})
    both = merge(first, second)
    assert both.label == "A 1 → 3"
    assert set(both.after) == {OTHER}
    apply_edit(middle, second)
    apply_edit(rows, both)
    assert rows == middle


def test_rows_survive_the_trip_as_text() -> None:
    rows = {KEY: None, OTHER: {"text": "½ \ud83d 😀", "n": 1.5}}
    assert load_rows("c", dump_rows(rows)) == rows


@pytest.mark.parametrize("text", ["1", "[1]", "[[1, 2, 3]]", '[["a", "b", 3]]', '[["a", "b"]]'])
def test_text_that_is_no_rows(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        load_rows("c", text)


NODES = ["token/embed/-1/2/5", "token/embed/-1/6/8", "feature/attn_out/0/7/31",
         "feature/mlp_out/0/7/214", "logit/logits/2/7/10"]  # fmt: skip
some = st.lists(st.sampled_from(NODES), min_size=1, unique=True)
texts = st.text(max_size=8)
numbers = st.floats(-1e4, 1e4)


class Editing(RuleBasedStateMachine):
    """Compare a drawing with a list of snapshots, whatever is done to it."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=Editing.root))
        self.path = self.folder / "x.circuitscope"
        shutil.copyfile(Editing.document, self.path)
        self.project = ProjectFile.open(self.path)
        self.drawing = self.project.drawing("Dallas")
        self.n_groups = 0
        self.past: list[dict] = [{}]
        self.future: list[dict] = []
        self.saved: tuple[list[dict], list[dict]] = ([{}], [])

    def commit(self, edit: Edit) -> None:
        before = dict(self.drawing.rows)
        self.drawing.commit(edit)
        if dict(self.drawing.rows) != before:
            self.past.append(dict(self.drawing.rows))
            self.future.clear()

    @rule(keys=some, text=texts)
    def group(self, keys: list[str], text: str) -> None:
        # An id of its own would differ between two runs of one example.
        self.n_groups += 1
        self.commit(verbs.group(self.drawing, keys, text, group_id=f"group {self.n_groups}"))

    @precondition(lambda self: self.drawing.of_kind("group"))
    @rule(data=st.data(), keys=some)
    def change_group(self, data: st.DataObject, keys: list[str]) -> None:
        name = data.draw(st.sampled_from(sorted(self.drawing.of_kind("group"))))
        act = data.draw(st.sampled_from(["ungroup", "rename", "add", "fold"]))
        edits = {
            "ungroup": lambda: verbs.ungroup(self.drawing, name),
            "rename": lambda: verbs.rename_group(self.drawing, name, "new"),
            "add": lambda: verbs.add_to_group(self.drawing, name, keys),
            "fold": lambda: verbs.open_group(self.drawing, name, open=True),
        }
        self.commit(edits[act]())

    @rule(key=st.sampled_from(NODES), text=texts)
    def label(self, key: str, text: str) -> None:
        self.commit(verbs.label(self.drawing, key, text))

    @rule(keys=some, verb=st.sampled_from(["pin", "unpin", "hide", "unhide", "unplace"]))
    def mark(self, keys: list[str], verb: str) -> None:
        self.commit(getattr(verbs, verb)(self.drawing, keys))

    @rule(keys=some, x=numbers, y=numbers)
    def place(self, keys: list[str], x: float, y: float) -> None:
        self.commit(verbs.place(self.drawing, dict.fromkeys(keys, (x, y))))

    @rule(value=st.floats(0, 1))
    def threshold(self, value: float) -> None:
        self.commit(verbs.set_view(self.drawing, node_threshold=value))

    @rule()
    def undo(self) -> None:
        done = self.drawing.undo() is not None
        assert done == (len(self.past) > 1)
        if done:
            self.future.append(self.past.pop())

    @rule()
    def redo(self) -> None:
        done = self.drawing.redo() is not None
        assert done == bool(self.future)
        if done:
            self.past.append(self.future.pop())

    @rule()
    def save(self) -> None:
        self.project.save()
        self.saved = (list(self.past), list(self.future))

    @rule()
    def reopen(self) -> None:
        self.project.close()
        self.past, self.future = list(self.saved[0]), list(self.saved[1])
        self.project = ProjectFile.open(self.path)
        self.drawing = self.project.drawing("Dallas")

    @invariant()
    def drawing_is_the_last_snapshot(self) -> None:
        if hasattr(self, "project"):
            assert dict(self.drawing.rows) == self.past[-1]
            line = self.drawing.history()
            assert [entry.undone for entry in line] == [False] * (len(self.past) - 1) + [
                True
            ] * len(self.future)

    def teardown(self) -> None:
        if hasattr(self, "project"):
            self.project.save()
            self.project.close()
            assert check_project(self.path) == []
            shutil.rmtree(self.folder)


def test_drawing_is_what_its_edits_say(document: Path, tmp_path: Path) -> None:
    Editing.document, Editing.root = document, tmp_path
    run = settings(
        max_examples=15,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Editing, settings=run)


@pytest.mark.slow
def test_drawing_is_what_its_many_edits_say(document: Path, tmp_path: Path) -> None:
    Editing.document, Editing.root = document, tmp_path
    run = settings(
        max_examples=100,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Editing, settings=run)
