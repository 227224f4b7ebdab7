"""Read a model's folder without its weights: what it is, whether it is whole, what it will cost.

Only config.json and the headers of the safetensors files are read; neither torch nor transformers
is needed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.errors import (
    ModelError,
    ModelFilesMissing,
    UnsafeFile,
    UnsupportedArchitecture,
)
from circuitscope.core.registry import Registry
from circuitscope.models.family import FAMILIES, ModelFamily

_KEPT = "Nothing was loaded."
_CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8,
    "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8,
}  # fmt: skip
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_MOST_HEADER = 100_000_000


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What a model folder holds, read from its headers.

    Attributes:
        path: The folder.
        anatomy: The model in numbers.
        n_parameters: Stored weights, tied ones once.
        dtype_on_disk: Type of most weights, such as "bfloat16".
        has_tokenizer: Without one, prompts are lists of ids.
        memory: Bytes needed to load it, by dtype.
    """

    path: Path
    anatomy: ModelAnatomy
    n_parameters: int
    dtype_on_disk: str
    has_tokenizer: bool
    memory: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Header:
    tensors: dict[str, dict[str, Any]]
    text: bytes
    size: int


def inspect_model(path: Path | str) -> ModelSummary:
    """Describe a model folder from config.json and safetensors headers.

    Raises:
        ModelFilesMissing: No folder, no config.json, no safetensors, or a shard that is not there.
        UnsafeFile: Only pickled weights.
        UnsupportedArchitecture: No family describes the model.
        ModelError: An adapter, a quantised model, or a damaged file.
    """
    folder = Path(path).expanduser()
    config = _read_config(folder)
    family = find_family(config)
    headers = _read_headers(folder)
    tensors = [tensor for header in headers.values() for tensor in header.tensors.values()]
    sizes = Counter[str]()
    for tensor in tensors:
        sizes[tensor["dtype"]] += math.prod(tensor["shape"])
    n_parameters = sum(sizes.values())
    try:
        anatomy = family.describe(config)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelError(
            f"{folder / _CONFIG} does not describe a whole {family.architecture}: {error!r}.",
            kept=_KEPT,
            hint="Download the model's config.json again.",
        ) from error
    name = anatomy.name if anatomy.name and not Path(anatomy.name).is_absolute() else ""
    return ModelSummary(
        path=folder,
        anatomy=replace(
            anatomy, name=name or _name_of(folder.resolve()), digest=_digest(folder, headers)
        ),
        n_parameters=n_parameters,
        dtype_on_disk=_DTYPES.get(sizes.most_common(1)[0][0], sizes.most_common(1)[0][0].lower()),
        has_tokenizer=any((folder / name).is_file() for name in _TOKENIZERS),
        memory={dtype: int(n_parameters * width * 1.1) for dtype, width in _BYTES.items()},
    )


def _name_of(folder: Path) -> str:
    """Return what people call a model; names of cache entries and "model" say little."""
    for part in reversed(folder.parts):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return folder.parent.name if folder.name == "model" else folder.name


def find_family(config: dict[str, Any]) -> ModelFamily:
    """Return the family of a config.json.

    Raises:
        UnsupportedArchitecture: No family is registered for its class.
    """
    families: Registry[ModelFamily] = Registry(FAMILIES)
    named = config.get("architectures") or []
    for architecture in named:
        family = families.get(architecture)
        if family is not None:
            return family
    called = ", ".join(map(str, named)) or f"model_type {config.get('model_type')!r}"
    raise UnsupportedArchitecture(
        f"CircuitScope cannot read models of the class {called}.",
        kept=_KEPT,
        hint=f"Classes it can read: {', '.join(families.names())}.",
    )


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ModelFilesMissing(
            f"{folder} {what}.",
            kept=_KEPT,
            hint="Choose the folder that holds the model's config.json and safetensors files.",
        )
    file = folder / _CONFIG
    if not file.is_file():
        raise _no_config(folder)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read: {error}.",
            kept=_KEPT,
            hint="Download the model's config.json again.",
        ) from error
    if not isinstance(config, dict):
        raise ModelError(
            f"{file} does not hold a model's settings.",
            kept=_KEPT,
            hint="Download the model's config.json again.",
        )
    if "quantization_config" in config:
        raise ModelError(
            f"The model in {folder} is quantised; circuits need its full weights.",
            kept=_KEPT,
            hint="Use the unquantised model that this one was made from.",
        )
    return config


def _no_config(folder: Path) -> ModelError:
    if (folder / "adapter_config.json").is_file():
        return ModelError(
            f"{folder} holds an adapter, not a whole model.",
            kept=_KEPT,
            hint="Merge it into its base model with peft: "
            'model.merge_and_unload().save_pretrained("merged"), and open that folder.',
        )
    if any(folder.glob("*.gguf")):
        return ModelError(
            f"{folder} holds a GGUF model, which is not in Hugging Face's format.",
            kept=_KEPT,
            hint="Use the Hugging Face model that it was converted from.",
        )
    return ModelFilesMissing(
        f"{folder} is no model: it has no config.json.",
        kept=_KEPT,
        hint="Choose the folder that holds the model's config.json and safetensors files.",
    )


def _read_headers(folder: Path) -> dict[str, _Header]:
    files = _weight_files(folder)
    if not files:
        if any(found for pattern in _PICKLES for found in folder.glob(pattern)):
            raise UnsafeFile(
                f"{folder} holds its weights as pickles, which can run code when opened.",
                kept=_KEPT,
                hint="Convert it once where you trust it: "
                "from transformers import AutoModelForCausalLM;"
                f' AutoModelForCausalLM.from_pretrained("{folder}").save_pretrained("safe")',
            )
        raise ModelFilesMissing(
            f"{folder} has a config.json but no weights: there is no safetensors file.",
            kept=_KEPT,
            hint="Download the model's *.safetensors files into it.",
        )
    return {file.name: _read_header(file) for file in files}


def _weight_files(folder: Path) -> list[Path]:
    """Return the model's safetensors files in order of name; shards as their index lists them."""
    index = folder / _INDEX
    if not index.is_file():
        single = folder / "model.safetensors"
        return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _damaged(index, str(error)) from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelFilesMissing(
            f"{folder} lacks {len(missing)} of {len(names)} weight files: {', '.join(missing)}.",
            kept=_KEPT,
            hint="Download the missing files into the folder.",
        )
    return [folder / name for name in names]


def _read_header(file: Path) -> _Header:
    """Read and check a safetensors header: 8 bytes of length, JSON, then exactly the tensors."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, _MOST_HEADER):
                raise _damaged(file, f"{size} bytes do not hold its header")
            text = stream.read(length)
        tensors = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        well_formed = all(
            math.prod(t["shape"]) * _BITS.get(t["dtype"], 0) // 8
            in (t["data_offsets"][1] - t["data_offsets"][0], 0)
            for t in tensors.values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(file, str(error) or type(error).__name__) from error
    if not tensors or not well_formed:
        raise _damaged(file, "its header does not fit its tensors")
    if 8 + length + end != size:
        raise _damaged(file, f"it has {size} bytes where its header asks for {8 + length + end}")
    return _Header(tensors, text, size)


def _damaged(file: Path, why: str) -> ModelError:
    return ModelError(
        f"{file} is damaged: {why}.", kept=_KEPT, hint="Download or copy this file again."
    )


def _digest(folder: Path, headers: dict[str, _Header]) -> str:
    """Return sha256 over config.json and each weight file's name, size and header."""
    total = hashlib.sha256((folder / _CONFIG).read_bytes())
    for name, header in sorted(headers.items()):
        total.update(f"\x00{name}\x00{header.size}\x00".encode())
        total.update(header.text)
    return total.hexdigest()
