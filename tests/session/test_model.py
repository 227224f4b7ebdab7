"""A session with a model: loading, generating, tracing into the project."""

from pathlib import Path
from typing import Any

import pytest

from circuitscope.core.errors import ModelFilesMissing, ProjectError
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.engine.client import InProcessEngine, ProcessEngine
from circuitscope.engine.requests import LoadModel, ModelChoice, Ping
from circuitscope.session.jobs import Job, JobQueue
from circuitscope.session.session import ModelStatus, Session

PROMPT = "the capital of state containing Dallas is"


def settings(**more: Any) -> TraceSettings:
    return TraceSettings(PROMPT, targets=(Logit("Austin"),), max_nodes=40, **more)


def test_model_status_follows_the_loading(session: Session, tiny_llama: Path) -> None:
    states: list[ModelStatus] = []
    session.model_changed.connect(states.append)
    job = session.load_model(tiny_llama, device="cpu")
    assert session.model.state == "loading"
    assert session.jobs.wait(job).state == "done"
    assert [status.state for status in states] == ["loading", "ready"]
    assert session.model.path == tiny_llama
    assert session.model.anatomy is not None
    assert session.model.anatomy.n_layers == 2
    assert (session.model.device, session.model.dtype) == ("cpu", "float32")
    assert session.preferences.now.recent.models == (str(tiny_llama),)
    assert session.model.check is not None
    assert session.model.check.passed
    assert session.model.why_untraced == ""
    assert any(line.startswith("Self-check: its parts give back") for line in job.log)


def test_folder_that_is_no_model_fails_and_says_why(session: Session, tmp_path: Path) -> None:
    session.jobs.wait(session.load_model(tmp_path))
    assert session.model.state == "failed"
    assert isinstance(session.model.error, ModelFilesMissing)
    assert session.preferences.now.recent.models == ()


def test_trace_goes_to_the_project_and_is_shown(session: Session, tiny_gpt2: Path) -> None:
    session.jobs.wait(session.load_model(tiny_gpt2, device="cpu"))
    job = session.jobs.wait(session.trace(settings()))
    assert job.error is None, job.error
    assert session.project is not None, "a new project was started"
    assert session.active == job.result_id
    explained = session.circuit.labels[int(session.circuit.roots[0])]
    assert session.project.finding(job.result_id).name == explained
    assert session.circuit is not None
    assert session.pruned().node_mask.any()
    assert not session.undo(), "a trace is evidence and not an edit"
    named = session.jobs.wait(session.trace(settings(), "again"))
    assert [info.name for info in session.project.findings()] == [explained, "again"]
    assert session.active == named.result_id


def test_generated_words_can_be_traced(session: Session, tiny_llama: Path) -> None:
    session.jobs.wait(session.load_model(tiny_llama, device="cpu"))
    made = session.jobs.wait(session.generate(PROMPT, 3)).result
    word = made.steps[1]
    asked = TraceSettings(made.prompt_ids(1), targets=(Logit(word.token_id),), max_nodes=30)
    job = session.jobs.wait(session.trace(asked, "second word"))
    assert job.error is None, job.error
    circuit = session.circuit
    assert circuit is not None
    assert circuit.token_ids == made.prompt_ids(1)
    assert int(circuit.nodes.unit[circuit.roots[0]]) == word.token_id


def test_dictionaries_used_with_a_model_are_remembered(
    session: Session, tiny_llama: Path, tmp_path: Path
) -> None:
    from tests.sae_lens_writer import write_set

    folder = str(write_set(tmp_path / "set"))
    session.jobs.wait(session.load_model(tiny_llama, device="cpu"))
    job = session.jobs.wait(session.trace(settings(dictionaries=(folder,))))
    assert job.error is None, job.error
    assert session.preferences.now.recent.dictionaries == {str(tiny_llama): [folder]}
    assert session.circuit is not None
    assert len(session.circuit.provenance.dictionaries) > 0


def test_trace_for_a_closed_project_fails_readably(session: Session, tiny_gpt2: Path) -> None:
    session.jobs.wait(session.load_model(tiny_gpt2, device="cpu"))
    session.new_project()
    job = session.trace(settings())
    session.new_project()
    session.jobs.wait(job)
    assert isinstance(job.error, ProjectError)
    assert "closed" in job.error.message


def test_mistake_in_an_ending_fails_the_job_and_is_not_swallowed() -> None:
    queue = JobQueue(InProcessEngine())

    def ending(job: Job, result: Any) -> None:
        raise OSError("not the engine's pipe")

    job = queue.add("Count", Ping(), ending)
    with pytest.raises(OSError, match="pipe"):
        queue.wait(job)
    assert job.state == "failed"
    assert queue.wait(queue.add("Count", Ping())).state == "done"


def test_mistake_in_an_ending_is_not_taken_for_the_death_of_the_engine() -> None:
    engine = ProcessEngine()
    queue = JobQueue(engine)

    def ending(job: Job, result: Any) -> None:
        raise OSError("not the engine's pipe")

    job = queue.add("Count", Ping(), ending)
    with pytest.raises(OSError, match="pipe"):
        queue.wait(job)
    pid = engine.pid
    after = queue.wait(queue.add("Count", Ping()))
    engine.close()
    assert job.state == "failed"
    assert after.result.pid == pid


def test_engine_that_cannot_start_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ProcessEngine()

    def refuse() -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(engine, "start", refuse)
    queue = JobQueue(engine)
    job = queue.wait(queue.add("Load", LoadModel(ModelChoice("model"))))
    assert job.state == "failed"
    assert "Cannot allocate memory" in str(job.error)


def test_warming_up_starts_the_process_unless_it_is_not_wanted() -> None:
    session = Session()
    session.preferences.change("engine", start_early=False)
    session.warm_up()
    assert session.engine.pid is None  # type: ignore[attr-defined]
    session.preferences.change("engine", start_early=True)
    session.warm_up()
    assert session.engine.pid  # type: ignore[attr-defined]
    session.shut_down()
