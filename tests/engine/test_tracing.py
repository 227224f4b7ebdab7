"""Models and traces in the engine process, on tiny real models."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import (
    CircuitScopeError,
    DictionaryMismatch,
    EngineDied,
    ModelFilesMissing,
    OutOfMemory,
    PromptError,
    TargetNotFound,
)
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.engine import answers
from circuitscope.engine.client import InProcessEngine, ProcessEngine
from circuitscope.engine.requests import (
    Generate,
    InspectDictionaries,
    InspectModel,
    LoadModel,
    ModelChoice,
    Ping,
    Predict,
    PreviewPrompt,
    Request,
    Trace,
)
from circuitscope.session.jobs import Job, JobQueue
from tests.conftest import GOLDEN
from tests.sae_lens_writer import write_sae, write_set

PROMPT = "the capital of state containing Dallas is"
SHARED = Path("/dev/shm")


@pytest.fixture
def queue(warm_engine: ProcessEngine) -> Iterator[JobQueue]:
    yield JobQueue(warm_engine)
    assert not warm_engine.busy
    if SHARED.is_dir():
        assert not list(SHARED.glob(f"cs{os.getpid():x}_*"))


def settings(prompt: str = PROMPT, **more: object) -> TraceSettings:
    return TraceSettings(prompt, targets=(Logit("Austin"),), **more)  # type: ignore[arg-type]


def ask(queue: JobQueue, request: Request) -> Job:
    return queue.wait(queue.add("test", request))


def failure(queue: JobQueue, request: Request) -> CircuitScopeError:
    job = ask(queue, request)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.hint
    return job.error


def test_trace_arrives_whole_and_equals_the_one_made_here(queue: JobQueue, tiny_gpt2: Path) -> None:
    request = Trace(ModelChoice(str(tiny_gpt2), "cpu"), settings(max_nodes=100))
    job = ask(queue, request)
    assert job.error is None, job.error
    assert isinstance(job.result, Circuit)
    assert any("Attribution" in line or "row" in line.lower() for line in job.log), job.log
    here = ask(JobQueue(InProcessEngine()), request).result
    np.testing.assert_array_equal(here.nodes.unit, job.result.nodes.unit)
    np.testing.assert_allclose(here.edges.weight, job.result.edges.weight, rtol=1e-4, atol=1e-5)
    assert job.result.labels == here.labels


def test_model_stays_loaded_until_another_one_is_asked_for(
    queue: JobQueue, tiny_gpt2: Path, tiny_llama: Path
) -> None:
    gpt2, llama = ModelChoice(str(tiny_gpt2), "cpu"), ModelChoice(str(tiny_llama), "cpu")
    first = ask(queue, LoadModel(gpt2))
    assert first.result.device == "cpu"
    assert first.result.anatomy.n_layers == 2
    assert first.result.n_bytes > 0
    again = ask(queue, LoadModel(gpt2))
    assert not any("Loading" in line for line in again.log)
    other = ask(queue, LoadModel(llama))
    assert any("Loading" in line for line in other.log)
    assert other.result.anatomy.architecture == "LlamaForCausalLM"


def test_prompt_and_generation_show_what_the_model_sees(queue: JobQueue, tiny_llama: Path) -> None:
    model = ModelChoice(str(tiny_llama), "cpu")
    preview = ask(queue, PreviewPrompt(model, PROMPT)).result
    assert preview.texts[0] == "<bos>"
    assert preview.specials[0]
    assert not any(preview.specials[1:])
    made = ask(queue, Generate(model, PROMPT, n_tokens=4)).result
    assert made.prompt == preview
    assert len(made.steps) == 4
    step = made.steps[2]
    assert step.token_id == step.alternatives[0].token_id
    assert step.probability == pytest.approx(step.alternatives[0].probability)
    assert step.runner_up == step.alternatives[1]
    assert step.predicted_at == len(preview.ids) + 1
    assert made.prompt_ids(2) == (*preview.ids, made.steps[0].token_id, made.steps[1].token_id)
    from_ids = ask(queue, Generate(model, made.prompt_ids(2), n_tokens=1)).result
    assert from_ids.steps[0].token_id == step.token_id
    assert from_ids.steps[0].probability == pytest.approx(step.probability, rel=1e-4)


def test_predictions_are_the_softmax_after_every_token(queue: JobQueue, tiny_gpt2: Path) -> None:
    import torch
    from transformers import GPT2LMHeadModel

    choice = ModelChoice(str(tiny_gpt2), "cpu")
    found = queue.wait(queue.add("predict", Predict(choice, PROMPT, 7))).result
    plain = GPT2LMHeadModel.from_pretrained(tiny_gpt2).eval()
    with torch.no_grad():
        logits = plain(torch.tensor([found.prompt.ids])).logits[0]
    expected = torch.topk(torch.softmax(logits.double(), -1), 7)
    assert found.probabilities.dtype == np.float32
    np.testing.assert_array_equal(found.token_ids, expected.indices.numpy())
    np.testing.assert_allclose(found.probabilities, expected.values.numpy(), atol=1e-5)
    everything = queue.wait(queue.add("predict", Predict(choice, found.prompt.ids, 10**6))).result
    np.testing.assert_allclose(everything.probabilities.sum(-1), 1, atol=1e-5)


def test_folders_are_described_without_their_weights(
    queue: JobQueue, tiny_gpt2: Path, tmp_path: Path
) -> None:
    found = ask(queue, InspectModel(str(tiny_gpt2))).result
    assert found.anatomy.architecture == "GPT2LMHeadModel"
    assert found.has_tokenizer
    assert found.memory["float32"] > found.memory["bfloat16"]
    cards = ask(queue, InspectDictionaries(str(write_set(tmp_path / "set")))).result.cards
    assert len(cards) == 6
    assert {card.d_in for card in cards} == {16}


def test_bad_input_is_told_in_words(queue: JobQueue, tiny_gpt2: Path, tmp_path: Path) -> None:
    model = ModelChoice(str(tiny_gpt2), "cpu")
    empty = tmp_path / "empty"
    empty.mkdir()
    write_sae(tmp_path / "wrong" / "mlp_out_0", "mlp_out", 0, d=24)
    wrong = settings(dictionaries=(str(tmp_path / "wrong"),))

    error = failure(queue, LoadModel(ModelChoice(str(empty), "cpu")))
    assert isinstance(error, ModelFilesMissing)
    error = failure(queue, Trace(model, wrong))
    assert isinstance(error, DictionaryMismatch)
    assert "24" in error.message
    assert "16" in error.message
    error = failure(queue, Trace(model, settings(prompt="the capitol of Dallas")))
    assert isinstance(error, PromptError)
    assert "capital" in str(error)
    for prompt in ("", "   ", "the " * 60):
        assert isinstance(failure(queue, Trace(model, settings(prompt=prompt))), PromptError)
    nowhere = TraceSettings(PROMPT, targets=(Logit("Houston"),))
    assert isinstance(failure(queue, Trace(model, nowhere)), TargetNotFound)
    unknown = TraceSettings(PROMPT, method="divination")
    assert "divination" in failure(queue, Trace(model, unknown)).message


def test_running_trace_is_cancelled(queue: JobQueue, tiny_gpt2: Path) -> None:
    model = ModelChoice(str(tiny_gpt2), "cpu")
    job = queue.add("Trace", Trace(model, settings(batch_size=1, max_nodes=None)))

    def stop(job: Job) -> None:
        if job.total and job.done and job.state == "running" and "Cancelling …" not in job.log:
            asked.append(time.monotonic())
            queue.cancel(job)

    asked: list[float] = []
    job.changed.connect(stop)
    queue.wait(job)
    assert job.state == "cancelled"
    assert time.monotonic() - asked[0] < 1.0, "between two batches"
    assert ask(queue, Trace(model, settings(max_nodes=50))).state == "done"


class _Forgetful:
    """Do work that runs out of memory a few times."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.asked: list[int | None] = []
        self._failures, self._error = failures, error

    def __call__(self, batch_size: int | None) -> str:
        self.asked.append(batch_size)
        if len(self.asked) <= self._failures:
            raise self._error
        return "a circuit"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")],
)
def test_batch_is_halved_once_when_memory_runs_out(error: Exception) -> None:
    from circuitscope.core.progress import silent

    once = _Forgetful(1, error)
    assert answers._within_memory(once, 32, silent()) == "a circuit"  # type: ignore[arg-type]
    assert once.asked == [32, 16]
    twice = _Forgetful(2, error)
    with pytest.raises(OutOfMemory, match="16"):
        answers._within_memory(twice, 32, silent())  # type: ignore[arg-type]
    other = _Forgetful(1, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        answers._within_memory(other, 32, silent())  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch", "interval"), [(8, 2), (7, 2), (None, 1)])
def test_smaller_batches_after_memory_ran_out_choose_the_same_nodes(
    batch: int | None, interval: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """circuit-tracer chooses update_interval * batch_size nodes at a time."""
    from circuitscope.tracing import method

    folder = GOLDEN / "attribution" / "gpt2_relu"
    graph = json.loads((folder / "meta.json").read_text())["graphs"]["p2_limited"]
    asked = TraceSettings(
        tuple(graph["prompt_ids"]), method="attribution", conventions="circuit-tracer",
        dictionaries=(str(folder / "transcoders_circuit_tracer"),), max_nodes=60,
        batch_size=batch, update_interval=interval,
    )  # fmt: skip
    request = Trace(ModelChoice(str(folder / "model"), "cpu"), asked)
    sizes: list[int | None] = []
    real = method.trace
    whole = ask(JobQueue(InProcessEngine()), request).result

    def short_of_memory(model: object, settings: TraceSettings, *more: object) -> Circuit:
        sizes.append(settings.batch_size)
        if len(sizes) == 1:
            raise MemoryError
        return real(model, settings, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(method, "trace", short_of_memory)
    again = ask(JobQueue(InProcessEngine()), request).result
    assert len(sizes) == 2
    assert sizes[1] is not None
    assert sizes[1] <= (batch or 64) // 2
    keys = [[str(one.nodes.key(n)) for n in range(len(one.nodes))] for one in (again, whole)]
    assert keys[0] == keys[1]


def test_missing_engine_packages_are_named_with_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch, tiny_gpt2: Path
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    engine = InProcessEngine()
    job = ask(JobQueue(engine), LoadModel(ModelChoice(str(tiny_gpt2))))
    assert job.error is not None
    assert "torch" in job.error.message
    assert 'pip install "circuitscope[engine]"' in job.error.hint


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_engine_killed_in_the_middle_of_a_trace(
    queue: JobQueue, warm_engine: ProcessEngine, tiny_gpt2: Path
) -> None:
    """Comes last: the process that the other tests share ends here."""
    request = Trace(ModelChoice(str(tiny_gpt2), "cpu"), settings(batch_size=1, max_nodes=None))
    job = queue.add("Trace", request)

    def kill(job: Job) -> None:
        if job.total and job.done and warm_engine.pid is not None:
            os.kill(warm_engine.pid, signal.SIGKILL)

    job.changed.connect(kill)
    queue.wait(job)
    following = ask(queue, Ping(n_values=3))
    warm_engine.close()
    assert job.state == "failed"
    assert isinstance(job.error, EngineDied)
    assert f"“{job.phase}”" in job.error.message
    assert f"of {job.total}" in job.error.message
    assert following.state == "done"
