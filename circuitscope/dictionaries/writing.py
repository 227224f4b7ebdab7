"""Write dictionaries for other tools: SAELens' folders and circuit-tracer's sets, in float32.

Factors, gates and subtracted biases are folded, so that what is written computes the same. What a
format cannot say is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import DictionaryError
from circuitscope.dictionaries.dictionary import Dictionary

_SAE_LENS_VERSION: Final = "6.0.0"
_KEPT: Final = "Nothing was written."


def save_dictionaries(
    dictionaries: Sequence[Dictionary], folder: Path | str, format: str = "sae_lens"
) -> Path:
    """Write dictionaries into a folder and return it.

    Args:
        dictionaries: What to write.
        folder: Where to; made when missing.
        format: "sae_lens": a folder for each; "circuit_tracer": transcoders of all layers from 0
            on, or one cross-layer transcoder.

    Raises:
        DictionaryError: The format cannot say what a dictionary does, or the folder is not empty.
    """
    writers = {"sae_lens": _save_sae_lens, "circuit_tracer": _save_circuit_tracer}
    if format not in writers:
        raise DictionaryError(
            f"Dictionaries cannot be written as {format!r}.",
            kept=_KEPT,
            hint=f"Formats that can be written: {', '.join(writers)}.",
        )
    place = Path(folder).expanduser().absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise DictionaryError(
            f"{place} is not empty.", kept=_KEPT, hint="Choose a new or empty folder."
        )
    writers[format](list(dictionaries), place)
    return place


def write_sae_lens(
    folder: Path,
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    architecture: str,
    hooks: tuple[str, str | None],
    metadata: Mapping[str, Any],
    **settings: Any,
) -> None:
    """Write one folder as SAELens 6 does: sae_weights.safetensors and cfg.json.

    Args:
        folder: Where to; made when missing.
        tensors: Under SAELens' names.
        architecture: SAELens' name of it.
        hooks: What it reads, and what it writes where that is another place.
        metadata: What else is said of the model and the training.
        settings: Override those of cfg.json.
    """
    hook, hook_out = hooks
    d_in, d_sae = tensors["W_enc"].shape
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **settings,
        "metadata": {
            "sae_lens_version": _SAE_LENS_VERSION,
            "hook_name": hook,
            "hook_head_index": None,
            **metadata,
        },
    }
    if hook_out is not None:
        config["d_out"] = tensors["W_dec"].shape[1]
        config["metadata"]["hook_name_out"] = hook_out
        config["hook_name_out"] = hook_out
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: np.ascontiguousarray(value, "f4") for name, value in tensors.items()}
    save_file(plain, folder / "sae_weights.safetensors")
    # Last, since a folder with this file counts as finished.
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _save_sae_lens(dictionaries: list[Dictionary], folder: Path) -> None:
    architectures = [_architecture(dictionary) for dictionary in dictionaries]
    for dictionary, architecture in zip(dictionaries, architectures, strict=True):
        card, w = dictionary.card, dictionary.weights
        ids = torch.arange(card.n_features)
        W_enc = w.W_enc.float() * (1 if w.read_scale is None else w.read_scale)
        tensors = {
            "W_enc": W_enc, "b_enc": w.b_enc, "W_dec": dictionary.decoder_rows(ids),
            "b_dec": w.b_dec, "threshold": w.threshold, "W_skip": w.W_skip,
        }  # fmt: skip
        settings: dict[str, Any] = {"apply_b_dec_to_input": card.decoder_bias_subtracted}
        if card.k is not None:
            settings["k"] = card.k
        if card.scales_input:
            settings["normalize_activations"] = card.input_norm
        if card.input_norm == "centred":
            settings["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
        if card.read_site is Site.HEAD_Z:
            settings["reshape_activations"] = "hook_z"
        layer = card.layers[0]
        hook_out = card.write_site.hook_name(layer) if card.is_transcoder else None
        write_sae_lens(
            folder / card.name.replace("/", "_"),
            {name: _plain(tensor) for name, tensor in tensors.items() if tensor is not None},
            architecture=architecture,
            hooks=(card.read_site.hook_name(layer), hook_out),
            metadata={"model_name": card.model_name, "metrics": card.metrics},
            **settings,
        )


def _architecture(dictionary: Dictionary) -> str:
    """Return SAELens' name of what a dictionary does."""
    card = dictionary.card
    if len(card.layers) > 1:
        raise _cannot("SAELens", card.name, "writes to several layers")
    if card.activation == "signed_topk" or dictionary.weights.rank_scale is not None:
        raise _cannot("SAELens", card.name, f"chooses its features by {card.activation} otherwise")
    threshold = dictionary.weights.threshold
    if card.keeps_negative and threshold is not None and bool((threshold < 0).any()):
        raise _cannot("SAELens", card.name, "keeps what exceeds thresholds below zero")
    kind = {"relu": "standard", "gated": "jumprelu"}.get(card.activation, card.activation)
    if not card.is_transcoder and not card.skip:
        return kind
    names = {"standard": "transcoder", "jumprelu": "jumprelu_transcoder"}
    if card.skip:
        names = {"standard": "skip_transcoder"}
    if kind not in names:
        skip = " with a skip" if card.skip else ""
        raise _cannot("SAELens", card.name, f"is a {card.activation} transcoder{skip}")
    return names[kind]


def _save_circuit_tracer(dictionaries: list[Dictionary], folder: Path) -> None:
    for dictionary in dictionaries:
        card = dictionary.card
        if card.scales_input or card.restores_mean:
            raise _cannot("circuit-tracer", card.name, f"normalises its input ({card.input_norm})")
        ranked = any(dictionary.layer(n).weights.rank_scale is not None for n in card.layers)
        if card.activation == "topk" or ranked:
            raise _cannot("circuit-tracer", card.name, "keeps the k largest positive features only")
    cards = [dictionary.card for dictionary in dictionaries]
    places = {(card.read_site, card.write_site, card.activation, card.k) for card in cards}
    by_layer = {card.layers[0]: d for card, d in zip(cards, dictionaries, strict=True)}
    across = len(cards) == 1 and len(cards[0].layers) > 1
    if len(places) != 1 or (not across and sorted(by_layer) != list(range(len(cards)))):
        raise DictionaryError(
            "A circuit-tracer set has one dictionary of the same kind for every layer from 0 on, "
            f"but these are for the layers {sorted(by_layer)}.",
            kept=_KEPT,
            hint="Choose the transcoders of one kind, or one cross-layer transcoder.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    card = cards[0]
    for layer in card.layers if across else sorted(by_layer):
        part = dictionaries[0].layer(layer) if across else by_layer[layer]
        _write_layer(folder, part, layer, across=across)
    hooks = [
        site.hook_name(0).removeprefix("blocks.0.") for site in (card.read_site, card.write_site)
    ]
    lines = {
        "model_name": card.model_name,
        "model_kind": "cross_layer_transcoder" if across else "transcoder_set",
        "feature_input_hook": hooks[0],
        "feature_output_hook": hooks[1],
    }
    if card.activation in ("relu", "signed_topk"):
        lines["activation"] = {"relu": "relu", "signed_topk": "topk"}[card.activation]
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items())
    text += f"k: {card.k}\n" if card.k is not None else ""
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def _write_layer(folder: Path, part: Dictionary, layer: int, *, across: bool) -> None:
    w = part.weights
    ids = torch.arange(part.card.n_features)
    encoder = {
        "W_enc": part.encoder_rows(ids), "b_enc": part.encoder_constants(ids), "b_dec": w.b_dec,
    }  # fmt: skip
    written = [part.decoder_rows(ids, to) for to in part.written_layers]
    threshold = w.threshold
    if threshold is not None and not part.card.keeps_negative:
        threshold = threshold.clamp(min=0)
    if not across:
        encoder["W_dec"] = written[0]
        optional = {"activation_function.threshold": threshold, "W_skip": w.W_skip}
    else:
        optional = {"threshold": threshold, "W_skip": None if w.W_skip is None else w.W_skip.mT}
    encoder |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    if not across:
        save_file(_plains(encoder), folder / f"layer_{layer}.safetensors")
        return
    named = {f"{name}_{layer}": tensor for name, tensor in encoder.items()}
    save_file(_plains(named), folder / f"W_enc_{layer}.safetensors")
    decoder = {f"W_dec_{layer}": torch.stack(written, dim=1)}
    save_file(_plains(decoder), folder / f"W_dec_{layer}.safetensors")


def _plains(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    return {name: _plain(tensor) for name, tensor in tensors.items()}


def _plain(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())


def _cannot(format: str, name: str, what: str) -> DictionaryError:
    return DictionaryError(
        f"{name} {what}, which {format}'s format cannot say.",
        kept=_KEPT,
        hint="Leave it out, or choose the other format.",
    )
