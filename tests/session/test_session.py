"""Use cases over a real project, without a model."""

from pathlib import Path

import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import ExchangeError, ModelError, NotAProject, ProjectError
from circuitscope.core.settings import TraceSettings
from circuitscope.engine.client import InProcessEngine
from circuitscope.graph.prune import Reason
from circuitscope.project import verbs
from circuitscope.session import work
from circuitscope.session.session import Session


def heard(signal: object) -> list[object]:
    calls: list[object] = []
    signal.connect(lambda *values: calls.append(values[0] if values else None))
    return calls


def test_signals_tell_of_opening_activating_and_closing(
    session: Session, small_circuit: Circuit, tmp_path: Path
) -> None:
    opened, closed = heard(session.project_opened), heard(session.project_closed)
    active = heard(session.active_changed)
    project = session.new_project()
    circuit_id = project.add_finding(small_circuit, "Dallas")
    session.activate(circuit_id)
    assert session.circuit is not None
    assert session.circuit.digest == small_circuit.digest
    session.close()
    assert opened == [project]
    assert closed == [None]
    assert active == ["", circuit_id, ""]
    assert session.project is None
    assert session.drawing is None


def test_opening_shows_the_first_circuit_and_remembers_the_file(drawn: Session) -> None:
    path = drawn.project.path
    drawn.close()
    drawn.open_project(path)
    assert drawn.circuit is not None
    assert drawn.preferences.now.recent.projects == (str(path),)


def test_failed_open_leaves_the_open_project_alone(drawn: Session, tmp_path: Path) -> None:
    before = drawn.project
    (tmp_path / "noise.circuitscope").write_bytes(b"noise" * 100)
    with pytest.raises(NotAProject):
        drawn.open_project(tmp_path / "noise.circuitscope")
    assert drawn.project is before
    assert drawn.circuit is not None


def test_selection_keeps_the_order_of_choosing(drawn: Session) -> None:
    calls = heard(drawn.selection_changed)
    drawn.select([4])
    drawn.select([2, 3], add=True)
    drawn.select([4], add=True, toggle=True)
    drawn.select([2, 3])
    assert calls == [(4,), (4, 2, 3), (2, 3)]
    assert drawn.selected_keys() == ["feature/attn_out/0/7/31", "feature/mlp_out/0/7/214"]


def test_edits_are_undoable_and_named(drawn: Session) -> None:
    drawn.edit(verbs.label, "feature/mlp_out/1/7/88", "say Austin")
    assert drawn.label(4) == "say Austin"
    assert drawn.undo_text.startswith("Label")
    assert drawn.is_modified
    assert drawn.undo()
    assert drawn.label(4) == "on is → Austin, Waco"
    assert drawn.redo_text.startswith("Label")
    assert drawn.redo()
    assert not drawn.redo()
    assert drawn.label(4) == "say Austin"


def test_nodes_without_any_label_are_called_after_their_key(drawn: Session) -> None:
    assert drawn.label(5) == "L0 error"


def test_deleting_the_active_circuit_shows_another(drawn: Session, small_circuit: Circuit) -> None:
    first = drawn.active
    second = drawn.project.add_finding(small_circuit, "Oakland")
    drawn.edit_project(verbs.delete_finding, first)
    assert drawn.active == second
    drawn.undo()
    assert [info.name for info in drawn.project.findings()] == ["Dallas", "Oakland"]


def test_view_changes_of_one_drag_join(drawn: Session) -> None:
    for threshold in (0.7, 0.6, 0.5):
        drawn.set_view(node_threshold=threshold)
    drawn.set_view(show_errors=False)
    assert drawn.view().node_threshold == 0.5
    assert drawn.undo()
    assert drawn.view().show_errors
    assert drawn.undo()
    assert drawn.view().node_threshold == 0.8
    assert not drawn.undo()


def test_what_is_shown_follows_edits_and_says_why_the_rest_is_hidden(drawn: Session) -> None:
    before = drawn.pruned()
    assert before.node_mask[4]
    drawn.edit(verbs.hide, "feature/mlp_out/1/7/88")
    after = drawn.pruned()
    assert not after.node_mask[4]
    assert after.reasons[4] == Reason.BY_HAND
    assert sum(after.counts().values()) == int((~after.node_mask).sum())
    assert after.cumulative.max() == pytest.approx(1.0)


def test_search_finds_labels_tokens_keys_and_groups(drawn: Session) -> None:
    drawn.edit(verbs.group, ["feature/mlp_out/0/7/214"], "State of Texas")
    drawn.edit(verbs.hide, "feature/attn_out/0/7/31")
    found = drawn.search("TEXAS")
    assert {match.index for match in found.matches} == {2, 3}
    assert found.n_hidden == 1
    assert [match.hidden for match in found.matches if match.index == 2] == [True]
    assert [match.index for match in drawn.search("mlp_out/1").matches] == [4, 6]
    assert drawn.search("dallas").matches[0].index == 1
    assert not drawn.search("   ").matches
    assert not drawn.search("no such thing").matches


def test_export_names_the_formats_there_are(drawn: Session, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="docx"):
        drawn.export(tmp_path / "figure.docx")
    with pytest.raises(ExchangeError, match="mosaic"):
        drawn.export(tmp_path / "figure.svg", what="mosaic")


def test_export_writes_the_active_circuit(drawn: Session, tmp_path: Path) -> None:
    drawn.export(tmp_path / "link.svg", what="link")
    assert (tmp_path / "link.svg").read_text("utf-8").startswith(("<?xml", "<svg"))


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_a_large_graph_is_written_by_the_engine_to_the_same_bytes(
    drawn: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    here, there = tmp_path / f"here{suffix}", tmp_path / f"there{suffix}"
    assert work.export_large(drawn, there) is None  # small enough for the window
    monkeypatch.setattr(work, "LARGE_EDGES", 0)
    assert work.export_large(drawn, tmp_path / "figure.svg") is None
    drawn.export(here)
    job = work.export_large(drawn, there)
    assert drawn.jobs.wait(job).state == "done", job.error
    assert there.read_bytes() == here.read_bytes()
    assert drawn.exported == there


def test_save_as_moves_the_project(drawn: Session, tmp_path: Path) -> None:
    drawn.edit(verbs.pin, "feature/mlp_out/1/7/88")
    path = drawn.save_as(tmp_path / "copy.circuitscope")
    assert path == tmp_path / "copy.circuitscope" == drawn.project.path
    assert not drawn.is_modified
    with pytest.raises(ProjectError, match="exists"):
        drawn.save_as(tmp_path / "dallas.circuitscope")


def test_work_left_over_by_a_crash_is_recovered(small_circuit: Circuit, tmp_path: Path) -> None:
    import subprocess
    import sys

    crash = (
        "import os\n"
        "from circuitscope.engine.client import InProcessEngine\n"
        "from circuitscope.session.session import Session\n"
        "from circuitscope.project import verbs\n"
        "s = Session(InProcessEngine())\n"
        f"p = s.new_project({str(tmp_path / 'lost.circuitscope')!r})\n"
        "s.edit_project(verbs.project_note, 'still here')\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", crash], check=False).returncode == 9
    session = Session(InProcessEngine())
    left = session.recoverable()
    assert len(left) == 1
    project = session.recover(left[0])
    assert project.contents.of_kind("text")["project"]["text"] == "still here"
    assert session.undo()
    session.shut_down()
    assert session.recoverable() == []


def test_actions_without_their_ground_say_what_to_do(session: Session) -> None:
    with pytest.raises(ProjectError, match="No project"):
        session.save()
    with pytest.raises(ProjectError, match="No circuit"):
        session.edit(verbs.pin, "feature/mlp_out/1/7/88")
    with pytest.raises(ModelError, match="No model"):
        session.trace(TraceSettings("the capital"))
    assert session.search("x").matches == ()
    assert session.undo_text == ""
    assert not session.undo()


def test_default_engine_is_a_process_that_starts_on_first_use() -> None:
    session = Session()
    assert session.engine.pid is None
    session.shut_down()


def test_job_of_a_closed_project_fails_readably(session: Session, tmp_path: Path) -> None:
    session.new_project()
    job = session.import_file(tmp_path / "graph.json")
    session.close()
    session.jobs.wait(job)
    assert job.state == "failed"
    assert job.error is not None


def test_in_process_sessions_share_nothing(tmp_path: Path) -> None:
    one, two = Session(InProcessEngine()), Session(InProcessEngine())
    one.new_project(tmp_path / "one.circuitscope")
    assert two.project is None
    one.shut_down()
    two.shut_down()


def test_drawings_of_a_circuit_are_switched_and_undone(drawn: Session) -> None:
    session, dallas = drawn, drawn.active
    project = session.project
    session.edit(verbs.pin, "token/embed/-1/6/8")
    made = project.add_drawing(dallas, "Figure 2")
    session.activate(dallas, made)
    assert (session.active, session.active_drawing) == (dallas, made)
    assert session.drawing.row("pin", "token/embed/-1/6/8") is None
    session.edit(verbs.pin, "token/embed/-1/2/5")
    assert session.undo_text == "Pin token 2"
    session.undo()
    session.undo()
    assert session.active_drawing == dallas
    assert session.drawing.row("pin", "token/embed/-1/6/8") == {}
    session.redo()
    session.activate(dallas, made)
    session.activate("")
    session.activate(dallas)
    assert session.active_drawing == made
