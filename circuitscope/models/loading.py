"""Open a local model folder: checks before, one loaded model after; no network, no foreign code."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.errors import ModelError, ModelFilesMissing, OutOfMemory
from circuitscope.core.intervention import Freeze, Intervention
from circuitscope.core.model_check import SelfCheck
from circuitscope.core.progress import Progress, silent
from circuitscope.models.capture import ForwardCache, capture
from circuitscope.models.devices import available_memory, choose_device
from circuitscope.models.family import ModelFamily
from circuitscope.models.folder import ModelSummary, find_family, inspect_model
from circuitscope.models.guessed import Guessed, fitted
from circuitscope.models.headers import KEPT, download_line, shards_by_tensor
from circuitscope.models.intervene import Generation, ModelRun, generate, run
from circuitscope.models.prompts import Prompt, Written, find_token, read_prompt, token_text
from circuitscope.models.self_check import check_loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DEACTIVATE_ASYNC_LOAD")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model in memory: the only holder of weights.

    Attributes:
        anatomy: The model in numbers.
        module: The Hugging Face model in eval mode; no weight asks for gradients.
        tokenizer: Its tokenizer, or None: then prompts are lists of ids.
        family: What knows the names of its parts.
        device: Where the weights lie; dtype: their type.
        path: The folder it was loaded from.
        upcasts: Whether it computes in float32 with weights held in half precision; `dtype` is
            then float32. See `upcast.in_float32`.
        check: How exactly its parts gave back the whole when it was loaded; None where its class
            is not known. See `self_check`.
    """

    anatomy: ModelAnatomy
    module: nn.Module
    tokenizer: Any | None
    family: ModelFamily
    device: torch.device
    dtype: torch.dtype
    path: Path = Path()
    upcasts: bool = False
    check: SelfCheck | None = None

    @property
    def held(self) -> torch.dtype:
        """Return the type in which most weights lie in memory."""
        return max(self.module.parameters(), key=torch.Tensor.numel).dtype

    def run(
        self,
        prompt: Written,
        interventions: Sequence[Intervention] = (),
        *,
        freeze: Sequence[Freeze] = (),
    ) -> ModelRun:
        """Run a prompt once, with changes at chosen sites; see `intervene.run`."""
        return run(self, prompt, interventions, freeze)

    def generate(  # noqa: PLR0913 - options by keyword
        self,
        prompt: Written,
        n_tokens: int = 20,
        interventions: Sequence[Intervention] = (),
        seed: int = 0,
        *,
        temperature: float = 0.0,
        freeze: Sequence[Freeze] = (),
        progress: Progress | None = None,
    ) -> Generation:
        """Continue a prompt; see `intervene.generate`."""
        return generate(
            self, prompt, n_tokens, interventions,
            seed=seed, temperature=temperature, freeze=freeze, progress=progress,
        )  # fmt: skip

    def capture(self, prompt: Written) -> ForwardCache:
        """Run a prompt once and keep what circuits need; see `capture.capture`."""
        return capture(self, self.prompt(prompt).token_ids)

    def prompt(self, prompt: Written) -> Prompt:
        """Return the ids of a prompt and the text of each; see `prompts.read_prompt`."""
        return read_prompt(self, prompt)

    def token_text(self, token_id: int) -> str:
        """Return a token's display text."""
        return token_text(self, token_id)

    def find_token(self, token: str | int) -> int:
        """Return the id that a target word names; see `prompts.find_token`."""
        return find_token(self, token)


def load_model(
    path: Path | str,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> LoadedModel:
    """Load a local Hugging Face folder.

    Args:
        path: Folder with config.json and safetensors; a tokenizer is optional.
        device: "auto" (CUDA, else Apple MPS, else CPU), "cpu", "cuda", "cuda:1" or "mps".
        dtype: "float32", "float64", "bfloat16" or "float16".
        progress: Hears of every shard and tensor; may cancel between them.

    Raises:
        ModelFilesMissing: No folder, no config.json, no weights, or weights that lack tensors.
        UnsupportedArchitecture: No family describes the model.
        UnsafeFile: Only pickled weights.
        OutOfMemory: The device has not enough free memory; said before loading.
        ModelError: Anything else that is wrong with the folder, device or dtype.
    """
    hear = progress or silent()
    hear.phase("Reading the model's folder")
    summary = inspect_model(path)
    where, width = choose_device(device), _find_dtype(dtype)
    _check_memory(summary, where, dtype)
    try:
        with _quiet_transformers(_told(summary, hear)):
            hear.phase("Loading weights")
            module = _load_module(summary, width)
            hear.phase("Loading the tokenizer")
            tokenizer = _load_tokenizer(summary)
        module.eval().requires_grad_(requires_grad=False)
        if where.type != "cpu":
            hear.phase(f"Moving the weights to {where}")
        module.to(where)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _ran_out(summary, where, dtype) from error
    family = find_family({"architectures": [summary.anatomy.architecture]})
    if isinstance(family, Guessed):
        hear.phase("Looking for its parts")
        family = fitted(family, module, summary.anatomy)
    model = LoadedModel(summary.anatomy, module, tokenizer, family, where, width, summary.path)
    hear.phase("Checking that it is read right")
    try:
        model = replace(model, check=check_loaded(model))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _ran_out(summary, where, dtype) from error
    if model.check is not None:
        hear.note(f"Self-check: {model.check.words}.")
    return model


def _find_dtype(dtype: str) -> torch.dtype:
    if dtype not in _DTYPES:
        raise ModelError(
            f"{dtype!r} is not a number format.", hint=f"Choose one of {', '.join(_DTYPES)}."
        )
    return _DTYPES[dtype]


def _check_memory(summary: ModelSummary, device: torch.device, dtype: str) -> None:
    # Weights pass through the computer's own memory on their way to a graphics card.
    for place in dict.fromkeys((device, torch.device("cpu"))):
        needed, free = summary.memory[dtype], available_memory(place)
        if needed > free:
            raise OutOfMemory(
                f"{summary.anatomy.name} needs about {needed / 1e9:.2f} GB in {dtype}, "
                f"but {place} has {free / 1e9:.2f} GB free.",
                kept=KEPT,
                hint=_smaller(summary, device, dtype, free),
            )


def _smaller(summary: ModelSummary, device: torch.device, dtype: str, free: int) -> str:
    """Return what would fit."""
    options = [
        f"Load it in {name}, {summary.memory[name] / 1e9:.2f} GB"
        for name in ("float32", "bfloat16")
        if summary.memory[name] <= free and summary.memory[name] < summary.memory[dtype]
    ][:1]
    on_cpu = summary.memory[dtype] <= available_memory(torch.device("cpu"))
    if device.type != "cpu" and on_cpu:
        options.append("load it on the CPU" if options else "Load it on the CPU")
    if not options:
        return "Choose a smaller model, or close other programs."
    return f"{', '.join(options)}, or close other programs."


def _ran_out(summary: ModelSummary, device: torch.device, dtype: str) -> OutOfMemory:
    gc.collect()
    free = available_memory(device)
    return OutOfMemory(
        f"Memory ran out while {summary.anatomy.name} was loaded: it needs about "
        f"{summary.memory[dtype] / 1e9:.2f} GB in {dtype}.",
        kept=KEPT,
        hint=_smaller(summary, device, dtype, free),
    )


def _told(summary: ModelSummary, hear: Progress) -> Callable[..., Any]:
    """Return a stand-in for transformers' progress bar that reads and reports shard by shard."""
    shard_of = shards_by_tensor(summary.path)
    shards = sorted(set(shard_of.values()))

    def bar(make: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        del make
        items = list(args[0]) if args else []
        if options.get("desc") != "Loading weights":
            return items
        by_shard: dict[str, list[Any]] = {name: [] for name in shards or [""]}
        for item in items:
            by_shard[_shard(item[0], shard_of) or next(iter(by_shard))].append(item)
        return _read_in_order(by_shard, hear)

    return bar


def _read_in_order(by_shard: Mapping[str, list[Any]], hear: Progress) -> Iterator[Any]:
    for number, (name, items) in enumerate(by_shard.items(), 1):
        of_how_many = f", file {number} of {len(by_shard)}" if len(by_shard) > 1 else ""
        hear.phase(f"Loading weights{of_how_many}", len(items))
        if name:
            hear.note(f"Reading {name}")
        for item in items:
            yield item
            hear.advance()


def _shard(tensor: str, shard_of: Mapping[str, str]) -> str:
    """Return the file of a tensor; names in the files may lack or add the model's prefix."""
    stored = (tensor, tensor.partition(".")[2], f"model.{tensor}", f"transformer.{tensor}")
    return next((shard_of[name] for name in stored if name in shard_of), "")


def _load_module(summary: ModelSummary, dtype: torch.dtype) -> PreTrainedModel:
    """Load the class that config.json names; code in the folder is never run."""
    import transformers
    from safetensors import SafetensorError

    kind = getattr(transformers, summary.anatomy.architecture)
    try:
        module, found = kind.from_pretrained(
            summary.path, dtype=dtype, attn_implementation="eager", local_files_only=True,
            trust_remote_code=False, use_safetensors=True, output_loading_info=True,
        )  # fmt: skip
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"The weights in {summary.path} cannot be loaded: {first}",
            kept=KEPT,
            hint="Check that config.json and the safetensors files belong to one model.",
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        # transformers would fill them with random numbers and only warn.
        raise ModelFilesMissing(
            f"The weights in {summary.path} lack {len(missing)} tensors, such as {missing[0]}.",
            kept=KEPT,
            hint="Check that config.json and the safetensors files belong to one model, or "
            f"download it again:\n{download_line(summary.path)}",
        )
    loaded: PreTrainedModel = module
    return loaded


def _load_tokenizer(summary: ModelSummary) -> Any | None:
    if not summary.has_tokenizer:
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            summary.path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers raises bare Exception on a bad file
        files = ("tokenizer.json", "tokenizer_config.json")
        raise ModelError(
            f"The tokenizer in {summary.path} cannot be read: {error}.",
            kept=KEPT,
            hint="Remove its files to use token ids, or download them again:\n"
            f"{download_line(summary.path, files)}",
        ) from error


@contextmanager
def _quiet_transformers(bar: Callable[..., Any]) -> Iterator[None]:
    """Keep transformers off the network and the console, and let it leave no thread behind.

    Args:
        bar: Makes what stands in for its progress bars.
    """
    before = {name: os.environ.get(name) for name in _SWITCHES}
    os.environ.update(dict.fromkeys(_SWITCHES, "1"))
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hook = logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        logging.set_tqdm_hook(hook)
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


__all__ = ["LoadedModel", "ModelSummary", "available_memory", "inspect_model", "load_model"]
