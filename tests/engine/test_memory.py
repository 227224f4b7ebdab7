"""Memory of a larger model in the engine: freed by the next load, and a layer more for a trace."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.engine.client import ProcessEngine
from circuitscope.engine.requests import Generate, LoadModel, ModelChoice, Predict, Request, Trace
from circuitscope.session.jobs import Job, JobQueue

MEGA = 1e6


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobQueue]:
    # The C library gives freed pieces back at once, so that only what is held is counted.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    engine = ProcessEngine()
    yield JobQueue(engine)
    engine.close()


def write_llama(folder: Path, dtype: str, n_layers: int = 12) -> tuple[int, int]:
    """Write a random Llama; return its bytes, and those of its largest layer in float32."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=4096, hidden_size=768, num_hidden_layers=n_layers, num_attention_heads=12,
        intermediate_size=2560, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    layer = 4 * sum(p.numel() for p in model.model.layers[0].parameters())
    del model
    gc.collect()
    return (folder / "model.safetensors").stat().st_size, layer


def tell(request: pytest.FixtureRequest, line: str) -> None:
    request.config.get_terminal_writer().line(f"\n{line}")


def ask(queue: JobQueue, request: Request) -> Any:
    job: Job = queue.wait(queue.add("test", request))
    assert job.state == "done", job.error
    return job.result


def resident(queue: JobQueue) -> int:
    pid = queue._engine.pid
    assert pid is not None
    return int(psutil.Process(pid).memory_info().rss)


def peak_during(queue: JobQueue, work: Callable[[], Any]) -> int:
    """Return the most memory the engine held while some work was done."""
    most, over = [resident(queue)], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most.append(resident(queue))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        over.set()
        watcher.join()
    return max(most)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows counts mapped files otherwise")
def test_400_mb_are_gone_when_the_next_model_is_loaded(
    queue: JobQueue, tiny_llama: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    size, _ = write_llama(tmp_path / "large", "float32")
    assert size > 380 * MEGA
    tiny, large = (ModelChoice(str(p), "cpu") for p in (tiny_llama, tmp_path / "large"))
    levels = []
    for choice in (tiny, large, tiny, large, tiny):
        ask(queue, LoadModel(choice))
        ask(queue, Generate(choice, (1, 2, 3), 1))
        levels.append(resident(queue))
    shown = [f"{level / MEGA:.0f} MB" for level in levels]
    tell(request, "tiny, large, tiny, large, tiny: " + ", ".join(shown))
    assert levels[1] - levels[0] > 0.9 * size, shown
    assert levels[2] - levels[0] < 0.1 * size, shown
    assert abs(levels[3] - levels[1]) < 0.1 * size, shown
    assert levels[4] - levels[2] < 0.05 * size, shown


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows counts mapped files otherwise")
def test_a_trace_in_half_precision_needs_the_model_and_about_a_layer(
    queue: JobQueue, tiny_llama: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    size, layer = write_llama(tmp_path / "half", "bfloat16")
    settings = TraceSettings(
        (1, 5, 9, 3), targets=(Logit(7),), units="neurons", max_nodes=20, batch_size=4
    )
    ask(queue, Trace(ModelChoice(str(tiny_llama), "cpu"), settings))  # what a first trace imports
    before, more, held = resident(queue), {}, {}
    for dtype in ("bfloat16", "float32"):
        choice = ModelChoice(str(tmp_path / "half"), "cpu", dtype)
        ask(queue, LoadModel(choice))
        ask(queue, Generate(choice, (1, 2, 3), 1))
        loaded = resident(queue)
        most = peak_during(queue, lambda choice=choice: ask(queue, Trace(choice, settings)))
        held[dtype], more[dtype] = loaded - before, most - loaded
    told = (
        f"{size / MEGA:.0f} MB of bfloat16, a layer in float32 {layer / MEGA:.0f} MB; held as "
        + "; ".join(f"{d}: {held[d] / MEGA:.0f} MB, trace {more[d] / MEGA:.0f} more" for d in held)
    )
    tell(request, told)
    assert held["bfloat16"] < size + 2 * layer, told
    assert held["float32"] > 1.8 * size, told
    assert more["bfloat16"] - more["float32"] < 2 * layer, told


@pytest.mark.slow
def test_200_runs_of_a_model_leave_no_memory_behind(queue: JobQueue, tiny_llama: Path) -> None:
    choice = ModelChoice(str(tiny_llama), "cpu")

    def ask_some(n: int) -> int:
        for number in range(n):
            ask(queue, Predict(choice, (1, 5, 9, number % 30)))
        return resident(queue)

    settled = ask_some(50)
    assert ask_some(200) - settled < 4 * MEGA
