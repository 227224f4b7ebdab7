"""The engine killed in each phase, a second model in place of the first, torch imported early."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from circuitscope.core.errors import EngineDied
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.engine.client import ProcessEngine
from circuitscope.engine.requests import (
    Generate,
    ListDevices,
    LoadModel,
    ModelChoice,
    Ping,
    Request,
    Trace,
)
from circuitscope.session.jobs import Job, JobQueue
from tests.sae_lens_writer import write_set

PROMPT = "the capital of state containing Dallas is"
SHARED = Path("/dev/shm")
PHASES = (
    "Starting torch", "Loading tiny-llama", "Reading the model's folder", "Loading weights",
    "Loading the tokenizer", "Looking at the dictionaries", "Forward pass", "Features",
    "Attribution rows",
)  # fmt: skip


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    engine = ProcessEngine()
    yield engine
    engine.close()
    if SHARED.is_dir():
        assert not list(SHARED.glob(f"cs{os.getpid():x}_*"))


def ask(queue: JobQueue, request: Request) -> Job:
    return queue.wait(queue.add("test", request))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
@pytest.mark.slow
def test_killed_in_each_phase_the_job_fails_with_it_and_the_next_one_works(
    engine: ProcessEngine, tiny_llama: Path, tmp_path: Path
) -> None:
    folder = str(write_set(tmp_path / "set"))
    settings = TraceSettings(
        PROMPT, targets=(Logit("Austin"),), dictionaries=(folder,), batch_size=1, max_nodes=None
    )
    request = Trace(ModelChoice(str(tiny_llama), "cpu"), settings)
    queue = JobQueue(engine)
    seen: list[str] = []
    for phase in PHASES:
        job = queue.add("Trace", request)
        pids: list[int] = []

        def kill(job: Job, phase: str = phase, pids: list[int] = pids) -> None:
            if job.phase.startswith(phase) and not pids and engine.pid is not None:
                pids.append(engine.pid)
                os.kill(engine.pid, signal.SIGKILL)

        job.changed.connect(kill)
        queue.wait(job)
        assert pids, f"{phase} never came: {job.log}"
        assert job.state == "failed"
        assert isinstance(job.error, EngineDied)
        assert "“" in job.error.message
        assert job.phase
        assert not psutil.pid_exists(pids[0])
        if SHARED.is_dir():
            assert not list(SHARED.glob(f"cs{os.getpid():x}_*"))
        seen.append(job.phase)
        assert ask(queue, Ping(n_values=5)).state == "done"
    assert len(set(seen)) >= len(PHASES) - 3, "quick phases may be over before the kill lands"
    assert ask(queue, request).state == "done"


def _write_model(folder: Path) -> int:
    """Write a random Llama of 80 MB and return its size."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=8192, hidden_size=512, num_hidden_layers=4, num_attention_heads=8,
        intermediate_size=1408, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(torch.float32)
    model.save_pretrained(folder)
    return (folder / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_a_second_model_takes_the_place_of_the_first(
    engine: ProcessEngine, tiny_llama: Path, tmp_path: Path
) -> None:
    size = _write_model(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    queue = JobQueue(engine)
    assert ask(queue, LoadModel(ModelChoice(str(tiny_llama), "cpu"))).state == "done"

    def resident() -> int:
        assert engine.pid is not None
        return psutil.Process(engine.pid).memory_info().rss

    def held(name: str, dtype: str = "float32") -> int:
        choice = ModelChoice(str(tmp_path / name), "cpu", dtype)
        job = ask(queue, LoadModel(choice))
        assert job.state == "done", job.error
        # Weights are paged in from the file when they are first used.
        assert ask(queue, Generate(choice, (1, 2, 3), 1)).state == "done"
        return resident()

    levels = [resident(), held("first"), held("second"), held("first"), held("second", "float64")]
    ask(queue, LoadModel(ModelChoice(str(tiny_llama), "cpu")))
    levels.append(resident())
    shown = [f"{level / 1e6:.0f} MB" for level in levels]
    assert levels[1] - levels[0] > 0.7 * size, shown
    assert abs(levels[2] - levels[1]) < 0.2 * size, shown
    assert abs(levels[3] - levels[1]) < 0.2 * size, shown
    assert levels[4] - levels[0] > 1.7 * size, shown
    assert levels[5] - levels[0] < 0.4 * size, shown


@pytest.mark.slow
def test_a_warm_engine_imports_torch_unasked_and_answers_meanwhile(engine: ProcessEngine) -> None:
    engine.warm()
    queue = JobQueue(engine)
    first = ask(queue, Ping(n_values=3))
    assert first.state == "done", "nobody waits for torch who does not need it"
    deadline = time.monotonic() + 60
    while not ask(queue, Ping()).result.has_torch and time.monotonic() < deadline:
        time.sleep(0.1)
    devices = ask(queue, ListDevices())
    assert devices.result.devices[-1].name == "cpu"
    assert devices.result.devices[-1].total > devices.result.devices[-1].free > 0


def test_waiting_for_torch_can_be_cancelled(engine: ProcessEngine) -> None:
    engine.warm()
    queue = JobQueue(engine)
    job = queue.add("Devices", ListDevices())

    def stop(job: Job) -> None:
        if job.phase == "Starting torch" and "Cancelling …" not in job.log:
            began.append(time.monotonic())
            queue.cancel(job)

    began: list[float] = []
    job.changed.connect(stop)
    pid = engine.pid
    queue.wait(job)
    assert job.state == "cancelled"
    assert time.monotonic() - began[0] < 1.0
    assert ask(queue, Ping()).result.pid == pid, "the process goes on importing"
