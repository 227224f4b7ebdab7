"""Llama Scope as it was first published: hyperparams.json and checkpoints/final.safetensors.

JumpReLU dictionaries of one hook or, where the second differs, transcoders. encoder.weight is
[feature, d_in], decoder.weight [d_out, feature]. Inputs were multiplied by sqrt(d) / (mean norm
there), outputs likewise; all features share one threshold, which is meant for inputs as they are:
in training units it is multiplied by the input's factor, as SAELens does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError
from circuitscope.dictionaries.dataset_norms import folded_weights
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.hook_names import parse_hook_name
from circuitscope.dictionaries.shapes import check_weights, need
from circuitscope.dictionaries.tensor_files import (
    header_digest,
    map_tensors,
    mentions,
    read_json,
    shapes_only,
)

CONFIG: Final = "hyperparams.json"
WEIGHTS: Final = Path("checkpoints") / "final.safetensors"
_NAMES: Final = ("encoder.weight", "encoder.bias", "decoder.weight")


class LlamaScope:
    """Read Llama Scope's first autoencoders and transcoders."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder's hyperparams.json names a hook that is read."""
        return mentions(path / CONFIG, b'"hook_point_in"')

    def cards(self, path: Path) -> tuple[DictionaryCard]:
        """Describe a dictionary from its settings and the header of its weights."""
        settings = _settings(path)
        if not (path / WEIGHTS).is_file():
            raise DictionaryError(
                f"{path.name} has no {WEIGHTS.as_posix()}.", hint="Download the folder again."
            )
        read, write = _places(path, settings)
        shapes = _weights(path, settings, shapes_only(path / WEIGHTS))
        sizes = settings.get("d_model"), settings.get("d_sae")
        d_in, d_out, n = check_weights(shapes, path / WEIGHTS, *sizes)
        card = DictionaryCard(
            name=path.name,
            format="llama_scope",
            path=str(path),
            digest=header_digest(path / CONFIG, path / WEIGHTS),
            read_site=read[0],
            write_site=write[0],
            layers=(read[1],),
            d_in=d_in,
            d_out=d_out,
            n_features=n,
            activation="jumprelu",
            model_name=str(settings.get("model_name") or ""),
        )
        return (card,)

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Open a dictionary; its matrices stay in the mapped file on the processor."""
        path = Path(card.path)
        weights = _weights(path, _settings(path), map_tensors(path / WEIGHTS))
        loaded = Dictionary(card, weights)
        return loaded if str(device) == "cpu" else loaded.to(device)


def _settings(path: Path) -> dict[str, Any]:
    settings = read_json(path / CONFIG)
    act = str(settings.get("act_fn", "jumprelu")).lower()
    if act != "jumprelu" or not _is_number(settings.get("jump_relu_threshold")):
        raise DictionaryError(
            f"{path.name} uses the activation {act!r} with the threshold "
            f"{settings.get('jump_relu_threshold')!r}, which CircuitScope cannot apply.",
            hint="Those published are JumpReLU with one threshold.",
        )
    if settings.get("use_glu_encoder") or settings.get("apply_decoder_bias_to_pre_encoder"):
        raise DictionaryError(
            f"{path.name} has a gated encoder or subtracts its decoder's bias, which CircuitScope "
            "cannot apply.",
            hint="Those published do neither.",
        )
    norms = settings.get("dataset_average_activation_norm")
    norms = norms if isinstance(norms, Mapping) else {}
    if not all(_is_number(norms.get(end)) and norms[end] > 0 for end in ("in", "out")):
        raise DictionaryError(
            f"{path.name} does not say the mean norms of what it reads and writes.",
            hint="dataset_average_activation_norm holds in and out.",
        )
    if not isinstance(settings.get("d_model"), int) or settings["d_model"] < 1:
        raise DictionaryError(f"{path.name} does not say its d_model.", hint="Download it again.")
    return settings


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _places(path: Path, settings: Mapping[str, Any]) -> tuple[tuple[Site, int], tuple[Site, int]]:
    inward = settings["hook_point_in"]
    names = inward, settings.get("hook_point_out") or inward
    found = [parse_hook_name(name) if isinstance(name, str) else None for name in names]
    read, write = found
    if read is None or write is None or read[1] != write[1]:
        raise DictionaryError(
            f"{path.name} names the hooks {list(names)!r}, which are no places of one layer that "
            "CircuitScope knows.",
            hint="Known hooks look like blocks.3.hook_mlp_out.",
        )
    return read, write


def _weights(
    path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> DictionaryWeights:
    has_bias = settings.get("use_decoder_bias", True)
    need(tensors, [*_NAMES, "decoder.bias"] if has_bias else _NAMES, path / WEIGHTS)
    b_E = tensors["encoder.bias"]
    root, norms = math.sqrt(settings["d_model"]), settings["dataset_average_activation_norm"]
    into, out = root / norms["in"], root / norms["out"]
    threshold = torch.full(b_E.shape, settings["jump_relu_threshold"] * into, device=b_E.device)
    found = {
        "W_E": tensors["encoder.weight"].T, "b_E": b_E, "W_D": [tensors["decoder.weight"].T],
        "b_D": tensors["decoder.bias"] if has_bias else None, "threshold": threshold.log(),
    }  # fmt: skip
    return folded_weights({"act_fn": "jumprelu"}, found, into, [out])
