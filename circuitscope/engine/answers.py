"""How each request is answered; torch, models, dictionaries and methods are imported on use."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
from dataclasses import asdict, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import OutOfMemory
from circuitscope.engine.decomposing import (
    CompareHeads,
    DiscoverHeads,
    MeasureMeans,
    WeighWords,
    compare_heads,
    discover_heads,
    measure_means,
    weigh_words,
)
from circuitscope.engine.evidence import EVIDENCE
from circuitscope.engine.features import HANDLERS as FEATURE_HANDLERS
from circuitscope.engine.reading import ReadGraph, answer_read_graph
from circuitscope.engine.reasons import (
    ExplainAttention,
    Grow,
    explain_attention,
    grow_circuit,
)
from circuitscope.engine.requests import (
    UNLIMITED,
    Alternative,
    Chat,
    CheckDictionaries,
    DeviceList,
    DictionaryCards,
    DictionaryChecks,
    EstimateTrace,
    Generate,
    GeneratedToken,
    Generation,
    InspectDictionaries,
    Inspected,
    InspectModel,
    Limits,
    ListDevices,
    ListedDevice,
    ListedModel,
    ListModels,
    LoadModel,
    ModelChoice,
    ModelList,
    ModelReady,
    Ping,
    Pong,
    Predict,
    Predictions,
    PreviewPrompt,
    Prompt,
    PromptPreview,
    Request,
    Result,
    Trace,
    TraceEstimate,
)
from circuitscope.engine.soundness import CheckFile, answer_check
from circuitscope.engine.trials import ReadLens, TryChanges, read_lens, try_changes
from circuitscope.engine.writing import WriteGraph, answer_write_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from circuitscope.core.circuit import Finding
    from circuitscope.core.progress import Progress
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_BATCH_GUESS = 64
_LISTEN_SECONDS = 0.05
_MOST_FILES = 10_000


class Holdings:
    """What the engine keeps between requests: one model and the dictionaries used with it."""

    def __init__(self) -> None:
        self._choice: tuple[ModelChoice, float] | None = None
        self._model: LoadedModel | None = None
        self._set: tuple[tuple[Any, ...], Sequence[Dictionary]] | None = None
        self._warming: threading.Thread | None = None

    def model(self, choice: ModelChoice, progress: Progress) -> LoadedModel:
        """Return the chosen model, loading it where another one or an older state is held."""
        from circuitscope.models.loading import load_model

        state = (choice, _last_change(choice.path))
        if self._model is None or self._choice != state:
            self.free()
            progress.phase(f"Loading {Path(choice.path).name}")
            self._model = load_model(choice.path, choice.device, choice.dtype, progress)
            self._choice = state
            _return_memory()  # what the loader and the self-check used
        return self._model

    def dictionaries(
        self, paths: Sequence[str], device: str, progress: Progress, read_at: Sequence[str] = ()
    ) -> Sequence[Dictionary]:
        """Return the dictionaries of all these folders; those of other folders are let go."""
        from circuitscope.dictionaries.format import load_dictionaries

        if not paths:
            return ()
        state = (*((path, _last_change(path)) for path in paths), device, tuple(read_at))
        if self._set is None or self._set[0] != state:
            self._set = None
            progress.phase("Looking at the dictionaries")
            self._set = (state, load_dictionaries(paths, device, read_at))
        return self._set[1]

    def free(self) -> None:
        """Let go of the model and the dictionaries, and of the memory they used."""
        held = self._model is not None
        self._model, self._choice = None, None
        self._set = None
        if held:
            gc.collect()  # modules and their parts refer to each other
            _empty_cache()
            _return_memory()

    def warm(self) -> None:
        """Begin to import what models need, in the background; returns at once."""
        if self._warming is None:
            self._warming = threading.Thread(target=_import_engine, name="warm", daemon=True)
            self._warming.start()

    def await_torch(self, progress: Progress) -> None:
        """Return once torch is imported; the wait can be cancelled."""
        if self._warming is None and "torch" in sys.modules:
            return
        self.warm()
        assert self._warming is not None
        if self._warming.is_alive():
            progress.phase("Starting torch")
        while self._warming.is_alive():
            self._warming.join(_LISTEN_SECONDS)
            progress.advance(0)


def answer(
    request: Request, holdings: Holdings, progress: Progress, limits: Limits = UNLIMITED
) -> Result:
    """Answer one request.

    Raises:
        CircuitScopeError: What the user should know.
        Cancelled: The user asked to stop.
    """
    handler = _HANDLERS[type(request)]
    if type(request) not in _WITHOUT_TORCH:
        holdings.await_torch(progress)
        _keep_within(limits)
    return handler(request, holdings, progress)


def _ping(request: Ping, holdings: Holdings, progress: Progress) -> Pong:
    del holdings
    import time

    if request.steps:
        progress.phase("Counting", request.steps)
    for _ in range(request.steps):
        time.sleep(request.pause)
        progress.advance()
    time.sleep(request.deaf_seconds)
    values = np.arange(request.n_values, dtype=np.float32)
    return Pong(os.getpid(), "torch" in sys.modules, values)


def _load_model(request: LoadModel, holdings: Holdings, progress: Progress) -> ModelReady:
    model = holdings.model(request.model, progress)
    sizes = [weight.numel() * weight.element_size() for weight in model.module.parameters()]
    return ModelReady(
        model.anatomy, request.model.path, str(model.device),
        str(model.dtype).removeprefix("torch."), model.tokenizer is not None, sum(sizes),
        getattr(model.tokenizer, "chat_template", None) is not None,
        str(getattr(model.tokenizer, "bos_token", None) or ""), model.check,
    )  # fmt: skip


def _inspect_model(request: InspectModel, holdings: Holdings, progress: Progress) -> Inspected:
    del holdings, progress
    from circuitscope.models.folder import inspect_model

    found = inspect_model(request.path)
    return Inspected(
        found.anatomy, request.path, found.has_tokenizer, found.memory, found.n_parameters,
        found.dtype_on_disk, found.tokenizer, found.has_chat_template, found.n_files,
        found.n_bytes, _free_memory(), found.traceable,
    )  # fmt: skip


def _free_memory() -> int:
    try:
        import psutil
    except ModuleNotFoundError:
        return 0
    return int(psutil.virtual_memory().available)


def _list_models(request: ListModels, holdings: Holdings, progress: Progress) -> ModelList:
    del request, holdings, progress
    from circuitscope.models.cache import cache_folder, cached_models

    found = cached_models()
    listed = tuple(ListedModel(model.name, model.path, model.n_bytes) for model in found)
    return ModelList(str(cache_folder()), listed)


def _list_devices(request: ListDevices, holdings: Holdings, progress: Progress) -> DeviceList:
    del request, holdings, progress
    from circuitscope.models.devices import list_devices

    found = list_devices()
    return DeviceList(tuple(ListedDevice(d.name, d.title, d.free, d.total) for d in found))


def _estimate_trace(
    request: EstimateTrace, holdings: Holdings, progress: Progress
) -> TraceEstimate:
    from circuitscope.models.devices import available_memory
    from circuitscope.models.prompts import read_prompt
    from circuitscope.tracing.duration import estimate_seconds
    from circuitscope.tracing.memory import estimate_for

    settings = request.settings
    model = holdings.model(request.model, progress)
    device = str(model.device)
    opened = holdings.dictionaries(settings.dictionaries, device, progress, settings.read_at)
    n_pos = len(read_prompt(model, settings.prompt).token_ids)
    needed = estimate_for(model, opened, settings, n_pos)
    seconds = estimate_seconds(model, opened, settings, n_pos)
    return TraceEstimate(asdict(needed), available_memory(model.device), seconds)


def _inspect_dictionaries(
    request: InspectDictionaries, holdings: Holdings, progress: Progress
) -> DictionaryCards:
    del holdings, progress
    from circuitscope.dictionaries.format import load_dictionaries

    return DictionaryCards(request.path, load_dictionaries(request.path).cards)


def _check_dictionaries(
    request: CheckDictionaries, holdings: Holdings, progress: Progress
) -> DictionaryChecks:
    from circuitscope.dictionaries.self_check import check_dictionaries
    from circuitscope.models.prompts import read_prompt

    model = holdings.model(request.model, progress)
    device = str(model.device)
    dictionaries = holdings.dictionaries(request.paths, device, progress, request.read_at)
    ids = read_prompt(model, request.prompt).token_ids
    return DictionaryChecks(check_dictionaries(model, ids, dictionaries, progress))


def _preview_prompt(
    request: PreviewPrompt, holdings: Holdings, progress: Progress
) -> PromptPreview:
    model = holdings.model(request.model, progress)
    shown = _preview(model, request.prompt)
    if not request.n_next or not model.anatomy.causal:
        return shown
    from circuitscope.models.intervene import generate

    made = generate(model, shown.ids, 1, n_alternatives=request.n_next, progress=progress)
    listed = made.alternatives[0] if made.alternatives else ()
    following = tuple(Alternative(one.token_id, one.text, one.probability) for one in listed)
    return replace(shown, following=following)


def _preview(model: LoadedModel, prompt: Prompt | Chat) -> PromptPreview:
    from circuitscope.models.prompts import chat_ids, read_prompt

    if isinstance(prompt, Chat):
        turns = [{"role": role, "content": text} for role, text in prompt.turns]
        prompt = tuple(chat_ids(model, turns, generation_prompt=prompt.generation_prompt))
    read = read_prompt(model, prompt)
    special = set(getattr(model.tokenizer, "all_special_ids", None) or ())
    return PromptPreview(
        read.token_ids, read.tokens, tuple(number in special for number in read.token_ids)
    )


def _generate(request: Generate, holdings: Holdings, progress: Progress) -> Generation:
    from circuitscope.models.intervene import generate
    from circuitscope.models.prompts import token_text

    model = holdings.model(request.model, progress)
    shown = _preview(model, request.prompt)
    made = generate(
        model, shown.ids, request.n_tokens, seed=request.seed, temperature=request.temperature,
        n_alternatives=request.n_alternatives, progress=progress,
    )  # fmt: skip
    steps = []
    for at, (token, listed) in enumerate(zip(made.new_ids, made.alternatives, strict=True)):
        others = tuple(Alternative(one.token_id, one.text, one.probability) for one in listed)
        chances = {other.token_id: other.probability for other in others}
        last = len(shown.ids) + at - 1
        text, chance = token_text(model, token), chances.get(token, 0.0)
        steps.append(GeneratedToken(token, text, chance, last, others))
    return Generation(shown, tuple(steps))


def _predict(request: Predict, holdings: Holdings, progress: Progress) -> Predictions:
    import torch

    from circuitscope.models.intervene import run

    model = holdings.model(request.model, progress)
    shown = _preview(model, request.prompt)
    logits = torch.from_numpy(run(model, shown.ids).logits).double()
    chances = torch.softmax(logits, -1)
    best = torch.sort(logits, stable=True, dim=-1, descending=True).indices
    best = best[:, : request.n_alternatives]
    listed = chances.gather(-1, best).float()
    return Predictions(shown, best.numpy(), listed.numpy())


def _trace(request: Trace, holdings: Holdings, progress: Progress) -> Finding:
    from circuitscope.tracing.memory import in_batches_of
    from circuitscope.tracing.method import trace

    settings = request.settings
    model = holdings.model(request.model, progress)
    device = str(model.device)
    dictionaries = holdings.dictionaries(settings.dictionaries, device, progress, settings.read_at)

    def work(batch_size: int | None) -> Finding:
        chosen = settings if batch_size is None else in_batches_of(settings, batch_size)
        if request.prompts:
            from circuitscope.tracing.prompt_set import stable_core, trace_prompts

            def traced(prompt: Prompt) -> Circuit:
                found = trace(model, replace(chosen, prompt=prompt), dictionaries, progress)
                assert isinstance(found, Circuit), "tracing methods make circuits"
                return found

            found = trace_prompts(traced, request.prompts, progress)
            return stable_core(found, request.share)
        return trace(model, chosen, dictionaries, progress)

    return _within_memory(work, settings.batch_size, progress)


def _within_memory(
    work: Callable[[int | None], Finding], batch_size: int | None, progress: Progress
) -> Finding:
    """Do batched work; when memory runs out, once more with half the batch."""
    try:
        return work(batch_size)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    smaller = max(1, (batch_size or _BATCH_GUESS) // 2)
    progress.note(f"Memory ran out; once more with batches of {smaller}.")
    _empty_cache()
    try:
        return work(smaller)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:160]
    _empty_cache()
    raise OutOfMemory(
        f"Memory ran out, also with batches of {smaller}: {said}",
        kept="The project is unchanged and the model is still loaded.",
        hint="Ask for fewer nodes, a shorter prompt or a smaller batch, or use the CPU.",
    )


def _is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (
        torch is not None and isinstance(error, torch.OutOfMemoryError)
    ):
        return True
    return "can't allocate memory" in str(error) or "out of memory" in str(error)


def _empty_cache() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _return_memory() -> None:
    """Give freed memory back to the system, where the C library would keep it for later."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)


def _import_engine() -> None:
    """Import the slow packages; what is missing is said when it is needed."""
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401 - imported for later
        import transformers.modeling_utils  # noqa: F401 - imported for later


def _keep_within(limits: Limits) -> None:
    """Take no more of the machine than the user allows."""
    import torch

    from circuitscope.models.devices import limit_memory

    limit_memory(limits.memory_share)
    torch.set_num_threads(limits.threads or _usual_threads())


@cache
def _usual_threads() -> int:
    """Return the number of physical cores, or fewer where the user's set-up says so."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        import psutil

        cores = min(cores or 1, psutil.cpu_count(logical=False) or cores or 1)
    except ModuleNotFoundError:
        pass
    return max(1, min(cores or 1, torch.get_num_threads()))


def _last_change(path: str) -> float:
    """Return when a file, or anything in a folder, changed last; 0 where it is missing."""
    place = Path(path)
    try:
        files = islice(place.rglob("*"), _MOST_FILES) if place.is_dir() else ()
        return max((file.stat().st_mtime for file in (place, *files)), default=0.0)
    except OSError:
        return 0.0


_HANDLERS: dict[type, Callable[[Any, Holdings, Progress], Result]] = {
    Ping: _ping,
    LoadModel: _load_model,
    InspectModel: _inspect_model,
    InspectDictionaries: _inspect_dictionaries,
    ListModels: _list_models,
    ListDevices: _list_devices,
    EstimateTrace: _estimate_trace,
    CheckDictionaries: _check_dictionaries,
    PreviewPrompt: _preview_prompt,
    Generate: _generate,
    Predict: _predict,
    Trace: _trace,
    ReadGraph: answer_read_graph,
    WriteGraph: answer_write_graph,
    CheckFile: answer_check,
    TryChanges: try_changes,
    ReadLens: read_lens,
    Grow: grow_circuit,
    ExplainAttention: explain_attention,
    **EVIDENCE,
    **FEATURE_HANDLERS,
    WeighWords: weigh_words,
    CompareHeads: compare_heads,
    MeasureMeans: measure_means,
    DiscoverHeads: discover_heads,
}
_WITHOUT_TORCH = {
    Ping, InspectModel, InspectDictionaries, ListModels, ReadGraph, WriteGraph, CheckFile,
}  # fmt: skip
