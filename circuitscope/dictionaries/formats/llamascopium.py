"""OpenMOSS' llamascopium: a folder with config.json and sae_weights.safetensors.

- sae_type "sae": one site or, when its two hooks differ, a transcoder.
- sae_type "clt": W_E is [layer, d_model, feature]; W_D.{to} is [from, feature, d_model], grouped by
  the layer written to.

Trained dataset-wise, it saw x sqrt(d) / (mean norm of its hook) and wrote in the same units of its
output hook; both factors are folded here, unless "inference" says that they are already. With
sparsity_include_decoder_norm, thresholds and the k largest are judged on h times the decoder's
norm, the activation itself stays h.
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
from circuitscope.core.errors import DictionaryError, DictionaryMismatch
from circuitscope.dictionaries.dataset_norms import folded_weights
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.hook_names import parse_hook_name
from circuitscope.dictionaries.shapes import AGAIN, check_weights, need
from circuitscope.dictionaries.tensor_files import (
    header_digest,
    map_tensors,
    mentions,
    read_json,
    shapes_only,
)

CONFIG: Final = "config.json"
WEIGHTS: Final = "sae_weights.safetensors"
_TYPES: Final = ("sae", "clt")
_ACTIVATIONS: Final = ("relu", "jumprelu", "topk")
_THRESHOLD: Final = "activation_function.log_jumprelu_threshold"
_NORM: Final = "dataset_average_activation_norm."


class Llamascopium:
    """Read llamascopium's autoencoders, transcoders and cross-layer transcoders."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder's config.json names a type of sparse dictionary."""
        return mentions(path / CONFIG, b'"sae_type"')

    def cards(self, path: Path) -> tuple[DictionaryCard]:
        """Describe a dictionary from its settings and the header of its weights."""
        settings = _settings(path)
        if not (path / WEIGHTS).is_file():
            raise DictionaryError(
                f"{path.name} has no {WEIGHTS}.",
                hint="Convert its .dcp checkpoint to safetensors, or download the folder again.",
            )
        read_site, write_site, layers = _sites(path, settings)
        parts = _parts(path, settings, shapes_only(path / WEIGHTS))
        sizes = settings.get("d_model"), _n_features(settings)
        shapes = [check_weights(part, path / WEIGHTS, *sizes) for part in parts]
        d_in, d_out, n = shapes[0]
        k = settings.get("top_k")
        card = DictionaryCard(
            name=path.name,
            format="llamascopium",
            path=str(path),
            digest=header_digest(path / CONFIG, path / WEIGHTS),
            read_site=read_site,
            write_site=write_site,
            layers=layers,
            d_in=d_in,
            d_out=d_out,
            n_features=n,
            activation=settings["act_fn"],
            k=k if settings["act_fn"] == "topk" else None,
            input_norm=(
                "constant_norm_rescale" if settings["norm_activation"] == "token-wise" else "none"
            ),
            model_name=str(settings.get("model_name") or ""),
        )
        return (card,)

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Open a dictionary; its matrices stay in the mapped file on the processor."""
        path = Path(card.path)
        loaded = Dictionary(card, _parts(path, _settings(path), map_tensors(path / WEIGHTS)))
        return loaded if str(device) == "cpu" else loaded.to(device)


def _settings(path: Path) -> dict[str, Any]:
    settings = read_json(path / CONFIG)
    settings.setdefault("norm_activation", "dataset-wise")
    settings["act_fn"] = str(settings.get("act_fn", "relu")).lower()
    named = settings.get("sae_type")
    if named not in _TYPES:
        raise _refused(
            path, f"is of the type {named!r}", f"Types that can be read: {', '.join(_TYPES)}."
        )
    if settings["act_fn"] not in _ACTIVATIONS:
        raise _refused(
            path, f"uses the activation {settings['act_fn']!r}, which depends on more than one "
            "position or layer", f"Activations that can be read: {', '.join(_ACTIVATIONS)}.",
        )  # fmt: skip
    if settings["act_fn"] == "topk" and not isinstance(settings.get("top_k"), int):
        raise _refused(path, "is TopK without a number", 'Add "top_k" to its settings.')
    if settings.get("use_glu_encoder"):
        raise _refused(path, "has a gated encoder", "Choose one without use_glu_encoder.")
    norm = settings["norm_activation"]
    alone = named == "sae" and settings.get("hook_point_in") == settings.get("hook_point_out")
    if norm not in ("dataset-wise", "inference") and not (norm == "token-wise" and alone):
        raise _refused(
            path, f"normalises its input by {norm!r}",
            "Choose one trained dataset-wise, or standardised for inference.",
        )  # fmt: skip
    return settings


def _refused(path: Path, what: str, hint: str) -> DictionaryError:
    return DictionaryError(f"{path.name} {what}, which CircuitScope cannot apply.", hint=hint)


def _n_features(settings: Mapping[str, Any]) -> int | None:
    factor, d = settings.get("expansion_factor"), settings.get("d_model")
    return int(d * factor) if isinstance(factor, (int, float)) and isinstance(d, int) else None


def _hooks(settings: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    if settings["sae_type"] == "clt":
        inwards, outwards = settings.get("hook_points_in"), settings.get("hook_points_out")
        return list(inwards or ()), list(outwards or ())
    inward = settings.get("hook_point_in")
    return [inward], [settings.get("hook_point_out") or inward]


def _sites(path: Path, settings: Mapping[str, Any]) -> tuple[Site, Site, tuple[int, ...]]:
    found = []
    for names in _hooks(settings):
        places = [parse_hook_name(name) if isinstance(name, str) else None for name in names]
        known = [place for place in places if place is not None]
        if not known or len(known) != len(names) or len({site for site, _ in known}) != 1:
            raise DictionaryError(
                f"{path.name} names the hooks {names!r}, which are no places CircuitScope knows.",
                hint="Known hooks look like blocks.3.hook_mlp_out.",
            )
        found.append((known[0][0], tuple(layer for _, layer in known)))
    (read_site, layers), (write_site, written) = found
    in_order = settings["sae_type"] == "sae" or layers == tuple(range(len(layers)))
    if layers != written or not in_order:
        raise DictionaryError(
            f"{path.name} reads the layers {list(layers)} and writes {list(written)}.",
            hint="A dictionary writes the layers that it reads, a CLT all from 0 on.",
        )
    return read_site, write_site, layers


def _factors(
    path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], hooks: list[Any]
) -> list[float]:
    """Return sqrt(d) / mean norm of every hook; one where nothing is to be folded."""
    if settings["norm_activation"] != "dataset-wise":
        return [1.0] * len(hooks)
    names = [f"{_NORM}{hook}" for hook in hooks]
    need(tensors, names, path / WEIGHTS)
    norms = [tensors[name].float().flatten()[0] for name in names]
    root = math.sqrt(int(settings["d_model"]))
    return [1.0 if norm.is_meta else root / float(norm) for norm in norms]


def _parts(
    path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> list[DictionaryWeights]:
    """Return the weights of every layer read; meta tensors give their shapes."""
    inward, outward = _hooks(settings)
    n = len(inward)
    groups = _grouped(path, settings, tensors, n)
    into = _factors(path, settings, tensors, inward)
    out = _factors(path, settings, tensors, outward)
    return [
        folded_weights(settings, groups[layer], into[layer], out[layer:]) for layer in range(n)
    ]  # fmt: skip


def _grouped(
    path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], n: int
) -> list[dict[str, Any]]:
    """Return each layer's W_E, b_E, b_D, threshold and the matrices it writes by."""
    file, clt = path / WEIGHTS, settings["sae_type"] == "clt"
    ends = [f".{to}" for to in range(n)] if clt else [""]
    has_bias = settings.get("use_decoder_bias", True)
    jump = settings["act_fn"] == "jumprelu"
    names = ["W_E", "b_E", *(f"W_D{end}" for end in ends)]
    names += [f"b_D{end}" for end in ends] if has_bias else []
    need(tensors, [*names, _THRESHOLD] if jump else names, file)
    encoders = {
        "W_E": tensors["W_E"], "b_E": tensors["b_E"],
        **({"threshold": tensors[_THRESHOLD]} if jump else {}),
    }  # fmt: skip
    if not clt:
        encoders = {name: tensor[None] for name, tensor in encoders.items()}
    written = [tensors[f"W_D{end}"] if clt else tensors["W_D"][None] for end in ends]
    wrong = [name for name, tensor in encoders.items() if len(tensor) != n]
    wrong += [f"W_D.{to}" for to, tensor in enumerate(written) if clt and len(tensor) != to + 1]
    if wrong:
        raise DictionaryMismatch(
            f"{wrong[0]} of {path.name} does not have the {n} layers of its settings.", hint=AGAIN
        )
    return [
        {
            **{name: tensor[layer] for name, tensor in encoders.items()},
            "W_D": [tensor[layer] for tensor in written[layer:]],
            "b_D": tensors[f"b_D{ends[layer]}"] if has_bias else None,
        }
        for layer in range(n)
    ]
