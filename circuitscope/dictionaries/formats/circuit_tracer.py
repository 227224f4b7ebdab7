"""circuit-tracer: a folder with config.yaml, and a file of weights a layer, here or in the cache.

- model_kind "transcoder_set": layer_{i}.safetensors, or the paths and hf:// references listed
  under "transcoders"; one dictionary a layer. W_enc and W_dec are [feature, d_model].
- model_kind "cross_layer_transcoder": W_enc_{i}.safetensors and W_dec_{i}.safetensors; one
  dictionary of all layers. W_dec_{i} is [feature, n_layers - i, d_model].

Without "activation", thresholds mean JumpReLU and their absence ReLU. Its TopK keeps the k
largest even if negative. W_skip is applied as x W_skip^T in a transcoder set, as x W_skip in a
cross-layer transcoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError, DictionaryMismatch
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.gemma_weights import gemma_weights, is_gemma_layout
from circuitscope.dictionaries.hook_names import parse_hook_name
from circuitscope.dictionaries.hub_cache import resolve
from circuitscope.dictionaries.shapes import AGAIN, check_weights, need
from circuitscope.dictionaries.tensor_files import (
    header_digest,
    map_tensors,
    mentions,
    read_yaml,
    shapes_only,
)

CONFIG: Final = "config.yaml"
NAME: Final = "circuit_tracer"
_KINDS: Final = ("transcoder_set", "cross_layer_transcoder")
_MOST_LAYERS: Final = 1000
_THRESHOLD: Final = "activation_function.threshold"
_HOOKS: Final = ("feature_input_hook", "feature_output_hook")


class CircuitTracer:
    """Read circuit-tracer's transcoder sets and cross-layer transcoders."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder's config.yaml names a kind of transcoders."""
        return mentions(path / CONFIG, b"model_kind")

    def cards(self, path: Path) -> tuple[DictionaryCard, ...]:
        """Describe a set's transcoders, or its one cross-layer transcoder, from headers."""
        config = _config(path)
        if config["model_kind"] == "cross_layer_transcoder":
            return (_clt_card(path, config),)
        files = _layer_files(path, config)
        return tuple(_card(path, config, layer, file) for layer, file in enumerate(files))

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Map a transcoder's weights; a cross-layer transcoder's come layer by layer."""
        path = Path(card.path)
        config = _config(path)
        if config["model_kind"] == "cross_layer_transcoder":
            layers = _clt_files(path, config)
            parts = [
                _clt_weights([map_tensors(file) for file in files], layer, files[0], len(layers))
                for layer, files in enumerate(layers)
            ]
        else:
            file = _layer_files(path, config)[card.layers[0]]
            found = _weights(map_tensors(file), file)
            # "activation: relu" leaves thresholds in the file unused.
            parts = [found if card.activation == "jumprelu" else replace(found, threshold=None)]
        loaded = Dictionary(card, parts)
        return loaded if str(device) == "cpu" else loaded.to(device)


def _config(path: Path) -> dict[str, Any]:
    config = read_yaml(path / CONFIG)
    if config.get("model_kind") not in _KINDS:
        raise DictionaryError(
            f"{path.name} is of the kind {config.get('model_kind')!r}, which CircuitScope does "
            "not know.",
            hint=f"Kinds that can be read: {', '.join(_KINDS)}.",
        )
    return config


def _sites(path: Path, config: Mapping[str, Any]) -> tuple[Site, Site]:
    found = []
    for key in _HOOKS:
        site = parse_hook_name(f"blocks.0.{config.get(key)}")
        if site is None:
            raise DictionaryError(
                f"{CONFIG} of {path.name} says {key}: {config.get(key)!r}, which is no place "
                "CircuitScope knows.",
                hint="Known hooks look like mlp.hook_in, hook_resid_mid or hook_mlp_out.",
            )
        found.append(site[0])
    return found[0], found[1]


def _activation(config: Mapping[str, Any], k: int | None, *, thresholds: bool) -> str:
    named = config.get("activation")
    if named == "topk" or (named is None and k is not None):
        if not isinstance(k, int) or k < 1:
            raise DictionaryError(
                f"{CONFIG} says activation: topk, but not how many are kept.",
                hint='Add "k" to it.',
            )
        return "signed_topk"
    if named == "relu":
        return "relu"
    return "jumprelu" if thresholds else "relu"


def _layer_files(path: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return the file of every layer."""
    listed = config.get("transcoders")
    if listed is not None:
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise DictionaryError(
                f'"transcoders" in {CONFIG} of {path.name} is no list of files.',
                hint=AGAIN,
            )
        here = path.absolute()
        return [
            resolve(item) if item.startswith("hf://") else here / item
            for item in listed[:_MOST_LAYERS]
        ]
    return _numbered(path, "layer")


def _numbered(path: Path, stem: str) -> list[Path]:
    """Return {stem}_0.safetensors and on, without a gap."""
    wanted = re.compile(rf"{stem}_(\d{{1,4}})\.safetensors")
    numbers = sorted(
        int(match[1]) for item in path.iterdir() if (match := wanted.fullmatch(item.name))
    )
    missing = set(range(max(numbers, default=0) + 1)) - set(numbers)
    if missing:
        raise DictionaryError(
            f"{path.name} has no {stem}_{min(missing)}.safetensors.",
            hint="Download or copy the folder again; every layer from 0 on is needed.",
        )
    return [path / f"{stem}_{number}.safetensors" for number in numbers]


def _card(path: Path, config: Mapping[str, Any], layer: int, file: Path) -> DictionaryCard:
    read_site, write_site = _sites(path, config)
    shapes = shapes_only(file)
    k = config.get("k")
    if k is None and "k" in shapes:
        k = int(map_tensors(file)["k"])
    weights = _weights(shapes, file)
    d_in, d_out, n = check_weights(weights, file)
    activation = _activation(config, k, thresholds=weights.threshold is not None)
    return DictionaryCard(
        name=f"{_title(path, config)}_{layer}",
        format=NAME,
        path=str(path),
        digest=header_digest(path / CONFIG, file, part=str(layer)),
        read_site=read_site,
        write_site=write_site,
        layers=(layer,),
        d_in=d_in,
        d_out=d_out,
        n_features=n,
        activation=activation,
        k=k if activation == "signed_topk" else None,
        skip=weights.W_skip is not None,
        model_name=str(config.get("model_name") or ""),
    )


def _title(path: Path, config: Mapping[str, Any]) -> str:
    scan = config.get("scan")
    return scan.replace("/", "_") if isinstance(scan, str) and scan else path.name


def _weights(tensors: Mapping[str, Tensor], file: Path) -> DictionaryWeights:
    """Return the weights of one layer's file; meta tensors give their shapes."""
    if is_gemma_layout(file, tensors):
        return gemma_weights(tensors, file)
    need(tensors, ("W_enc", "b_enc", "W_dec", "b_dec"), file)
    threshold, skip = tensors.get(_THRESHOLD), tensors.get("W_skip")
    return DictionaryWeights(
        tensors["W_enc"].mT, tensors["b_enc"].float(), tensors["W_dec"], tensors["b_dec"].float(),
        None if threshold is None else threshold.float().flatten(),
        None if skip is None else skip.float(),
    )  # fmt: skip


def _clt_files(path: Path, config: Mapping[str, Any]) -> list[tuple[Path, ...]]:
    """Return each layer's files: of Gemma Scope 2 one, else its encoder's and its decoder's."""
    if config.get("transcoders") is not None:
        return [(file,) for file in _layer_files(path, config)]
    encoders, decoders = _numbered(path, "W_enc"), _numbered(path, "W_dec")
    if len(encoders) != len(decoders):
        raise DictionaryError(
            f"{path.name} has {len(encoders)} encoders and {len(decoders)} decoders.",
            hint="Download or copy the folder again; every layer needs both.",
        )
    return list(zip(encoders, decoders, strict=True))


def _clt_card(path: Path, config: Mapping[str, Any]) -> DictionaryCard:
    read_site, write_site = _sites(path, config)
    layers = _clt_files(path, config)
    if not layers:
        raise DictionaryError(f"{path.name} has no W_enc_0.safetensors.", hint=AGAIN)
    parts = [
        _clt_weights([shapes_only(file) for file in files], layer, files[0], len(layers))
        for layer, files in enumerate(layers)
    ]
    sizes = {check_weights(part, files[0]) for part, files in zip(parts, layers, strict=True)}
    if len(sizes) != 1:
        raise DictionaryMismatch(
            f"The layers of {path.name} have different shapes: {sorted(sizes)}.", hint=AGAIN
        )
    d_in, d_out, n = sizes.pop()
    return DictionaryCard(
        name=_title(path, config),
        format=NAME,
        path=str(path),
        digest=header_digest(path / CONFIG, *(file for files in layers for file in files)),
        read_site=read_site,
        write_site=write_site,
        layers=tuple(range(len(layers))),
        d_in=d_in,
        d_out=d_out,
        n_features=n,
        activation="jumprelu" if parts[0].threshold is not None else "relu",
        skip=parts[0].W_skip is not None,
        model_name=str(config.get("model_name") or ""),
    )


def _clt_weights(
    files: Sequence[Mapping[str, Tensor]], layer: int, file: Path, n_layers: int
) -> DictionaryWeights:
    """Return what one layer of a cross-layer transcoder reads and writes."""
    ending = f"_{layer}"
    tensors = {name.removesuffix(ending): tensor for part in files for name, tensor in part.items()}
    gemma = is_gemma_layout(file, tensors)
    if gemma:
        tensors |= {"W_enc": tensors["w_enc"], "W_dec": tensors["w_dec"][:, layer:]}
    need(tensors, ("W_enc", "b_enc", "W_dec", "b_dec"), file)
    written = tensors["W_dec"]
    if written.ndim != 3 or written.shape[1] != n_layers - layer:
        raise DictionaryMismatch(
            f"W_dec of {file.parent.name} in layer {layer} has the shape {list(written.shape)}, "
            f"but [feature, {n_layers - layer}, d_model] is needed.",
            hint=AGAIN,
        )
    skip = tensors.get("W_skip", tensors.get("affine_skip_connection"))
    threshold = tensors.get("threshold")
    own, *later = written.unbind(1)
    return DictionaryWeights(
        tensors["W_enc"] if gemma else tensors["W_enc"].mT, tensors["b_enc"].float(),
        own, tensors["b_dec"].float(),
        None if threshold is None else threshold.float().flatten(),
        None if skip is None else skip.mT.float(),
        W_dec_later=tuple(later),
    )  # fmt: skip
