"""Recognise what users take for a model folder, and say what to do instead.

Adapters, GGUF files, pickles and quantised checkpoints hold no weights that circuits can be
computed from; each has a way to a folder that does.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuitscope.core.errors import (
    CircuitScopeError,
    ModelError,
    ModelFilesMissing,
    UnsafeFile,
    UnsupportedArchitecture,
)
from circuitscope.models.headers import KEPT, cached_name, download_line

_CHOOSE = "Choose the folder that holds the model's config.json and safetensors files."
_ADAPTER = "adapter_config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_FOREIGN = {"*.msgpack": "Flax", "*.h5": "TensorFlow"}
_CARD_BASE = re.compile(r"^base_model:\s*(?:\n\s*-\s*)?[\"']?([\w.-]+/[\w.-]+)", re.MULTILINE)


def no_folder(path: Path) -> ModelError:
    """Return what to tell a user whose path is a file, or nothing at all."""
    if path.suffix.lower() == ".gguf" and path.is_file():
        return _gguf(path.parent, path.name)
    if path.is_file():
        return ModelFilesMissing(f"{path} is a file, not a folder.", kept=KEPT, hint=_CHOOSE)
    hint = _CHOOSE
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        hint = f"Download it first, then choose it from the list of the cache:\nhf download {path}"
    return ModelFilesMissing(f"{path} does not exist.", kept=KEPT, hint=hint)


def no_config(folder: Path) -> ModelError:
    """Return what a folder without config.json is."""
    if is_adapter(folder):
        return adapter(folder)
    if found := sorted(folder.glob("*.gguf")):
        return _gguf(folder, found[0].name)
    inside = [child for child in sorted(folder.glob("*/config.json")) if child.is_file()]
    inside += sorted(folder.glob("snapshots/*/config.json"))
    hint = f"Choose {inside[0].parent} instead." if inside else _CHOOSE
    if not inside and any(folder.glob("*.safetensors")):
        hint = f"Download it with:\n{download_line(folder, ['config.json'])}"
    return ModelFilesMissing(f"{folder} is no model: it has no config.json.", kept=KEPT, hint=hint)


def no_weights(folder: Path, config: Mapping[str, Any]) -> CircuitScopeError:
    """Return what a folder with config.json and no safetensors holds instead."""
    if is_adapter(folder):
        return adapter(folder)
    if found := sorted(folder.glob("*.gguf")):
        return _gguf(folder, found[0].name)
    if any(found for pattern in _PICKLES for found in folder.glob(pattern)):
        return _pickle(folder, config)
    for pattern, name in _FOREIGN.items():
        if any(folder.glob(pattern)):
            return ModelError(
                f"{folder} holds {name} weights, which are not read.",
                kept=KEPT,
                hint=f"Download the safetensors with:\n{download_line(folder)}",
            )
    return ModelFilesMissing(
        f"{folder} has a config.json but no weights: there is no safetensors file.",
        kept=KEPT,
        hint=f"Download them with:\n{download_line(folder)}",
    )


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter."""
    return (folder / _ADAPTER).is_file()


def adapter(folder: Path) -> ModelError:
    """Return what to do with an adapter: merge it, or take its base model."""
    try:
        settings = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
        base = str(settings.get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError):
        base = ""
    merged = str(_beside(folder, "merged"))
    code = (
        "from peft import AutoPeftModelForCausalLM as P; from transformers import AutoTokenizer"
        f" as T; P.from_pretrained({str(folder)!r}).merge_and_unload().save_pretrained({merged!r});"
        f" T.from_pretrained({base or str(folder)!r}).save_pretrained({merged!r})"
    )
    of_what = f" of {base}" if base else ""
    return ModelError(
        f"{folder} holds an adapter{of_what}, not a whole model.",
        kept=KEPT,
        hint=f"Open its base model{f' {base}' if base else ''}, or merge the two and open "
        f"{merged}:\n{_python(code)}",
    )


def quantised(folder: Path, config: Mapping[str, Any]) -> ModelError | None:
    """Return what to do where config.json says that the weights are quantised, else None."""
    found = config.get("quantization_config") or config.get("quantization")
    if not found and not (folder / "quantize_config.json").is_file():
        return None
    how = dict(found) if isinstance(found, Mapping) else {}
    method = str(how.get("quant_method") or how.get("quant_algo") or "")
    bits = how.get("bits") or (
        4 if how.get("load_in_4bit") else 8 if how.get("load_in_8bit") else 0
    )
    said = ", ".join(part for part in (method, f"{bits} bits" if bits else "") if part)
    return ModelError(
        f"The model in {folder} is quantised{f' ({said})' if said else ''}; circuits need its "
        "full weights.",
        kept=KEPT,
        hint=_original(folder),
    )


def unknown_class(config: Mapping[str, Any], known: Sequence[str]) -> UnsupportedArchitecture:
    """Return what to tell of a class that is neither known nor a language model of transformers."""
    import transformers

    named = ", ".join(map(str, config.get("architectures") or ()))
    called = named or f"model_type {config.get('model_type')!r}"
    own = config.get("auto_map")
    why = "the code that comes with the model, which is never run" if own else "a newer one"
    update = "" if own else "\npip install --upgrade transformers"
    return UnsupportedArchitecture(
        f"{called} is no language model of the installed transformers {transformers.__version__}; "
        f"it may need {why}.",
        kept=KEPT,
        hint=f"Choose a model that can be traced: {', '.join(known)}; or any other language model "
        f"of transformers, to run and change it.{update}",
    )


def _gguf(folder: Path, name: str) -> ModelError:
    return ModelError(
        f"{folder / name} is a GGUF model, which is not in Hugging Face's format.",
        kept=KEPT,
        hint=_original(folder),
    )


def _original(folder: Path) -> str:
    base = base_model(folder)
    if base:
        return f"Use the full model it was made from:\nhf download {base}"
    return (
        "Use the full model it was made from, in Hugging Face's format; its page on the Hub names "
        "it. Download it with:\nhf download ORGANISATION/MODEL"
    )


def base_model(folder: Path) -> str:
    """Return the model that a folder's README.md says it was made from, "" where it does not."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    head = text.split("\n---", 1)[0] if text.startswith("---") else ""
    found = _CARD_BASE.search(head)
    return found[1] if found else ""


def _pickle(folder: Path, config: Mapping[str, Any]) -> UnsafeFile:
    named = config.get("architectures") or ["AutoModelForCausalLM"]
    safe = str(_beside(folder, "safetensors"))
    code = (
        f"from transformers import AutoTokenizer as T, {named[0]} as M; "
        f"M.from_pretrained({str(folder)!r}).save_pretrained({safe!r}); "
        f"T.from_pretrained({str(folder)!r}).save_pretrained({safe!r})"
    )
    return UnsafeFile(
        f"{folder} holds its weights as pickles, which can run code when opened.",
        kept=KEPT,
        hint=f"Convert it once where you trust it, and open {safe}:\n{_python(code)}",
    )


def _beside(folder: Path, what: str) -> Path:
    """Return a folder to write a changed model to; never inside a cache."""
    name = cached_name(folder).replace("/", "-") or folder.absolute().name
    parent = Path.home() if cached_name(folder) else folder.absolute().parent
    return parent / f"{name}-{what}"


def _python(code: str) -> str:
    return shlex.join(["python", "-c", code])
