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
from circuitscope.core.errors import ModelError
from circuitscope.core.registry import Registry
from circuitscope.models.family import FAMILIES, ModelFamily
from circuitscope.models.guessed import guess, is_guessed
from circuitscope.models.headers import (
    KEPT,
    Header,
    cached_name,
    download_line,
    has_weights,
    read_headers,
)
from circuitscope.models.wrong_folders import (
    adapter,
    is_adapter,
    no_config,
    no_folder,
    no_weights,
    quantised,
    unknown_class,
)

_CONFIG = "config.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


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
        tokenizer: What the tokenizer calls itself, "" where there is none.
        has_chat_template: Whether chat messages can be written out.
        n_files: How many files the weights are in; n_bytes: their size together.
        traceable: Whether the arithmetic of its class is known.
    """

    path: Path
    anatomy: ModelAnatomy
    n_parameters: int
    dtype_on_disk: str
    has_tokenizer: bool
    memory: dict[str, int]
    tokenizer: str = ""
    has_chat_template: bool = False
    n_files: int = 1
    n_bytes: int = 0
    traceable: bool = True


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
    headers = read_headers(folder)
    if not headers:
        raise no_weights(folder, config)
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
            kept=KEPT,
            hint=_again(folder),
        ) from error
    name = anatomy.name if anatomy.name and not Path(anatomy.name).is_absolute() else ""
    return ModelSummary(
        path=folder,
        anatomy=replace(
            anatomy, name=name or _name_of(folder.resolve()), digest=_digest(folder, headers)
        ),
        n_parameters=n_parameters,
        dtype_on_disk=_DTYPES.get(sizes.most_common(1)[0][0], sizes.most_common(1)[0][0].lower()),
        has_tokenizer=bool(kind := _tokenizer_kind(folder)),
        memory={dtype: int(n_parameters * width * 1.1) for dtype, width in _BYTES.items()},
        tokenizer=kind,
        has_chat_template=bool(kind) and _has_chat_template(folder),
        n_files=len(headers),
        n_bytes=sum(header.size for header in headers.values()),
        traceable=not is_guessed(family),
    )


def _name_of(folder: Path) -> str:
    """Return what people call a model; names of cache entries and "model" say little."""
    if cached := cached_name(folder):
        return cached
    return folder.parent.name if folder.name == "model" else folder.name


def find_family(config: dict[str, Any]) -> ModelFamily:
    """Return the family of a config.json; of other language models one that is only guessed.

    Raises:
        UnsupportedArchitecture: No family is registered for its class, and transformers has no
            language model of it.
    """
    families: Registry[ModelFamily] = Registry(FAMILIES)
    named = config.get("architectures") or []
    for architecture in named:
        family = families.get(architecture)
        if family is not None:
            return family
    for architecture in named:
        guessed = guess(str(architecture))
        if guessed is not None:
            return guessed
    raise unknown_class(config, families.names())


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise no_folder(folder)
    file = folder / _CONFIG
    if not file.is_file():
        raise no_config(folder)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be read: {error}.", kept=KEPT, hint=_again(folder)
        ) from error
    if not isinstance(config, dict):
        raise ModelError(
            f"{file} does not hold a model's settings.", kept=KEPT, hint=_again(folder)
        )
    if is_adapter(folder) and not has_weights(folder):
        raise adapter(folder)
    if refusal := quantised(folder, config):
        raise refusal
    return config


def _again(folder: Path) -> str:
    return f"Download it again:\n{download_line(folder, [_CONFIG])}"


def _tokenizer_kind(folder: Path) -> str:
    """Return what the tokenizer calls itself, "" where there is none."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        return ""
    kind = str(_json(folder / "tokenizer_config.json").get("tokenizer_class") or "")
    plain = kind.removesuffix("Fast").removesuffix("Tokenizer")
    return _TOKENIZERS[0] if plain in ("", "PreTrained", "TokenizersBackend") else plain


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    return bool(_json(folder / "tokenizer_config.json").get("chat_template"))


def _json(file: Path) -> dict[str, Any]:
    """Return what a file of settings holds, {} where it cannot be read: loading will say why."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(folder: Path, headers: dict[str, Header]) -> str:
    """Return sha256 over config.json and each weight file's name, size and header."""
    total = hashlib.sha256((folder / _CONFIG).read_bytes())
    for name, header in sorted(headers.items()):
        total.update(f"\x00{name}\x00{header.size}\x00".encode())
        total.update(header.text)
    return total.hexdigest()
