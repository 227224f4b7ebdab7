"""Open a local model folder: checks before, one loaded model after; no network, no foreign code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import nn

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.errors import ModelError, ModelFilesMissing, OutOfMemory
from circuitscope.core.intervention import Intervention
from circuitscope.core.progress import Progress, silent
from circuitscope.models.capture import ForwardCache, capture
from circuitscope.models.family import ModelFamily
from circuitscope.models.folder import ModelSummary, find_family, inspect_model
from circuitscope.models.intervene import Generation, ModelRun, generate, run
from circuitscope.models.prompts import Prompt, Written, find_token, read_prompt, token_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_KEPT = "Nothing was loaded."
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
    """

    anatomy: ModelAnatomy
    module: nn.Module
    tokenizer: Any | None
    family: ModelFamily
    device: torch.device
    dtype: torch.dtype

    def run(self, prompt: Written, interventions: Sequence[Intervention] = ()) -> ModelRun:
        """Run a prompt once, with changes at chosen sites; see `intervene.run`."""
        return run(self, prompt, interventions)

    def generate(
        self,
        prompt: Written,
        n_tokens: int = 20,
        interventions: Sequence[Intervention] = (),
        seed: int = 0,
        *,
        temperature: float = 0.0,
        progress: Progress | None = None,
    ) -> Generation:
        """Continue a prompt; see `intervene.generate`."""
        return generate(
            self, prompt, n_tokens, interventions,
            seed=seed, temperature=temperature, progress=progress,
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
        progress: Hears the phases; may cancel between them.

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
    hear.phase("Loading weights")
    with _quiet_transformers():
        module = _load_module(summary, width)
        hear.phase("Loading the tokenizer")
        tokenizer = _load_tokenizer(summary)
    module.eval().requires_grad_(requires_grad=False)
    module.to(where)
    family = find_family({"architectures": [summary.anatomy.architecture]})
    return LoadedModel(summary.anatomy, module, tokenizer, family, where, width)


def choose_device(device: str) -> torch.device:
    """Return the device a name stands for.

    Raises:
        ModelError: This machine has no such device.
    """
    if device == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available()
            else "mps" if torch.backends.mps.is_available() else "cpu"
        )  # fmt: skip
    try:
        found = torch.device(device)
        usable = {
            "cpu": True,
            "cuda": torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count(),
            "mps": torch.backends.mps.is_available(),
        }.get(found.type, False)
    except RuntimeError:
        usable = False
    if not usable:
        raise ModelError(
            f"This machine offers no device {device!r}.", kept=_KEPT, hint='Choose "auto" or "cpu".'
        )
    return found


def available_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _find_dtype(dtype: str) -> torch.dtype:
    if dtype not in _DTYPES:
        raise ModelError(
            f"{dtype!r} is not a number format.", hint=f"Choose one of {', '.join(_DTYPES)}."
        )
    return _DTYPES[dtype]


def _check_memory(summary: ModelSummary, device: torch.device, dtype: str) -> None:
    needed, free = summary.memory[dtype], available_memory(device)
    if needed > free:
        smaller = [name for name in ("float32", "bfloat16") if summary.memory[name] <= free]
        hint = f"Load it in {smaller[0]}" if smaller else "Choose a smaller model"
        raise OutOfMemory(
            f"{summary.anatomy.name} needs about {needed / 1e9:.2f} GB in {dtype}, "
            f"but {device} has {free / 1e9:.2f} GB free.",
            kept=_KEPT,
            hint=f"{hint}, or close other programs.",
        )


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
            kept=_KEPT,
            hint="Check that config.json and the safetensors files belong to one model.",
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        # transformers would fill them with random numbers and only warn.
        raise ModelFilesMissing(
            f"The weights in {summary.path} lack {len(missing)} tensors, such as {missing[0]}.",
            kept=_KEPT,
            hint="Check that config.json and the safetensors files belong to one model.",
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
        raise ModelError(
            f"The tokenizer in {summary.path} cannot be read: {error}.",
            kept=_KEPT,
            hint="Download the tokenizer's files again, or remove them to use token ids.",
        ) from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers off the network and the console, and let it leave no thread behind."""
    before = {name: os.environ.get(name) for name in _SWITCHES}
    os.environ.update(dict.fromkeys(_SWITCHES, "1"))
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


__all__ = ["LoadedModel", "ModelSummary", "available_memory", "inspect_model", "load_model"]
