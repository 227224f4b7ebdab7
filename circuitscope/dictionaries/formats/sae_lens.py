"""SAELens: a folder with cfg.json and sae_weights.safetensors.

Settings have two dialects: version 6 keeps what concerns the model under "metadata"; older files
are flat, call the hook `hook_point` and name TopK by its activation function. Both are brought to
one form by `_settings`, everything after reads that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError, DictionaryMismatch
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.hook_names import parse_hook_name
from circuitscope.dictionaries.tensor_files import (
    header_digest,
    read_json,
    read_shapes,
    read_tensors,
)

CONFIG: Final = "cfg.json"
WEIGHTS: Final = "sae_weights.safetensors"

_ACTIVATIONS: Final = {
    "standard": "relu",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
}
_TRANSCODERS: Final = ("transcoder", "skip_transcoder", "jumprelu_transcoder")
_EXTRA_TENSORS: Final = {
    "standard": ("b_enc",),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "jumprelu": ("b_enc", "threshold"),
    "topk": ("b_enc",),
    "transcoder": ("b_enc",),
    "skip_transcoder": ("b_enc", "W_skip"),
    "jumprelu_transcoder": ("b_enc", "threshold"),
}


class SaeLens:
    """Read SAELens folders, configurations before and since version 6."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder holds both files under their usual names."""
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()

    def card(self, path: Path) -> DictionaryCard:
        """Describe a dictionary from its settings and the header of its weights."""
        settings = _settings(path)
        architecture = settings["architecture"]
        read_site, write_site, layer = _sites(path, settings)
        shapes = read_shapes(path / WEIGHTS)
        _check_shapes(path, settings, shapes)
        d_in, n_features = shapes["W_enc"]
        return DictionaryCard(
            name=path.name,
            format="sae_lens",
            path=str(path),
            digest=header_digest(path / CONFIG, path / WEIGHTS),
            read_site=read_site,
            write_site=write_site,
            layers=(layer,),
            d_in=d_in,
            d_out=shapes["W_dec"][1],
            n_features=n_features,
            activation=_ACTIVATIONS[architecture],
            k=int(settings["k"]) if architecture == "topk" else None,
            decoder_bias_subtracted=bool(settings.get("apply_b_dec_to_input")),
            input_norm=_input_norm(settings),
            skip="W_skip" in shapes and architecture == "skip_transcoder",
            model_name=str(settings.get("model_name") or ""),
            metrics=_metrics(settings),
        )

    def load(self, path: Path, device: str | torch.device = "cpu") -> Dictionary:
        """Read a dictionary in float32.

        Raises:
            DictionaryError: Its input is normalised or reshaped in a way that is not read yet.
        """
        settings = _settings(path)
        card = self.card(path)
        if card.input_norm not in ("none", "centred") or card.read_site is Site.HEAD_Z:
            what = f"normalises its input ({card.input_norm})"
            if card.read_site is Site.HEAD_Z:
                what = "reads head outputs side by side (hook_z)"
            raise DictionaryError(
                f"{card.name} {what}, which CircuitScope cannot apply yet.",
                hint="Choose a dictionary on hook_attn_out or hook_mlp_out, or one whose "
                "normalisation has been folded into its weights.",
            )
        tensors = read_tensors(path / WEIGHTS, device)
        return Dictionary(card, _weights(path, settings, tensors))


def _settings(path: Path) -> dict[str, Any]:
    """Return the settings of either dialect as one flat mapping in the names of version 6."""
    raw = read_json(path / CONFIG)
    metadata = raw.get("metadata")
    inner = metadata if isinstance(metadata, Mapping) else {}
    flat = {**raw, **{name: value for name, value in inner.items() if value is not None}}
    for old, new in (("hook_point", "hook_name"), ("activation_fn_str", "activation_fn")):
        if old in flat:
            flat.setdefault(new, flat[old])
    flat.setdefault("architecture", "standard")
    kwargs = flat.get("activation_fn_kwargs")
    if flat.get("activation_fn") == "topk":
        flat["architecture"] = "topk"
        if isinstance(kwargs, Mapping):
            flat.setdefault("k", kwargs.get("k"))
    if flat["architecture"] not in _ACTIVATIONS:
        raise DictionaryError(
            f"{path.name} is of the architecture {flat['architecture']!r}, which CircuitScope "
            "does not know.",
            hint=f"Architectures that can be read: {', '.join(_ACTIVATIONS)}.",
        )
    if flat["architecture"] == "topk" and not isinstance(flat.get("k"), int):
        raise DictionaryError(
            f"{path.name} is a TopK dictionary, but {CONFIG} does not say how many it keeps.",
            hint='Add "k" to its settings.',
        )
    return flat


def _input_norm(settings: Mapping[str, Any]) -> str:
    norm = settings.get("normalize_activations", "none")
    # Before 3.0 this was a truth value; true meant what is now called expected_average_only_in.
    norm = {True: "expected_average_only_in", False: "none", None: "none"}.get(norm, norm)
    kwargs = settings.get("model_from_pretrained_kwargs")
    centred = isinstance(kwargs, Mapping) and bool(kwargs.get("center_writing_weights"))
    return "centred" if norm == "none" and centred else str(norm)


def _metrics(settings: Mapping[str, Any]) -> dict[str, float]:
    found = settings.get("metrics")
    if not isinstance(found, Mapping):
        return {}
    return {str(k): float(v) for k, v in found.items() if isinstance(v, (int, float))}


def _sites(path: Path, settings: Mapping[str, Any]) -> tuple[Site, Site, int]:
    """Return where it reads, where it writes and in which layer."""
    read = _hook(path, settings.get("hook_name"))
    if settings["architecture"] not in _TRANSCODERS:
        return read[0], read[0], read[1]
    write = _hook(path, settings.get("hook_name_out"))
    if read[1] != write[1]:
        raise DictionaryError(
            f"{path.name} reads layer {read[1]} and writes layer {write[1]}; transcoders across "
            "layers are not read from this format.",
            hint="Choose a transcoder of a single layer.",
        )
    return read[0], write[0], read[1]


def _hook(path: Path, name: Any) -> tuple[Site, int]:
    found = parse_hook_name(name) if isinstance(name, str) else None
    if found is None:
        raise DictionaryError(
            f"{path.name} names the hook {name!r}, which is no place CircuitScope knows.",
            hint="Known hooks look like blocks.3.hook_mlp_out or blocks.3.hook_attn_out.",
        )
    return found


def _check_shapes(
    path: Path, settings: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse weights whose shapes contradict the settings or each other."""
    names = ("W_enc", "W_dec", "b_dec", *_EXTRA_TENSORS[settings["architecture"]])
    missing = [name for name in names if name not in shapes]
    if "W_enc" in shapes and len(shapes["W_enc"]) != 2:
        missing.append("a matrix W_enc")
    if missing:
        raise DictionaryError(
            f"{path.name} has no {', '.join(missing)} in {WEIGHTS}, which a "
            f"{settings['architecture']} dictionary needs.",
            hint="Download or copy the folder again.",
        )
    d_in, n = (settings.get(name, shapes["W_enc"][i]) for i, name in enumerate(("d_in", "d_sae")))
    d_out = d_in
    if settings["architecture"] in _TRANSCODERS:
        d_out = settings.get("d_out") or d_in
    expected = {"W_enc": (d_in, n), "W_dec": (n, d_out), "b_dec": (d_out,), "W_skip": (d_out, d_in)}
    for name in names:
        wanted = expected.get(name, (n,))
        if shapes[name] != wanted:
            raise DictionaryMismatch(
                f"{name} of {path.name} has the shape {list(shapes[name])}, but its settings "
                f"say {list(wanted)}.",
                hint="Download or copy the folder again.",
            )


def _weights(
    path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> DictionaryWeights:
    W_enc, W_dec, b_dec = tensors["W_enc"], tensors["W_dec"], tensors["b_dec"]
    scale = tensors.get("scaling_factor")
    if scale is not None and not torch.all(scale == 1):
        raise DictionaryError(
            f"{path.name} carries a finetuning scale, which CircuitScope cannot apply yet.",
            hint="Fold it into the decoder, or choose a dictionary without one.",
        )
    if settings["architecture"] == "gated":
        spread = tensors["r_mag"].exp()
        threshold = tensors["b_mag"] - tensors["b_gate"] * spread
        return DictionaryWeights(W_enc * spread, tensors["b_mag"], W_dec, b_dec, threshold)
    b_enc = tensors["b_enc"]
    if settings["architecture"] == "topk" and settings.get("rescale_acts_by_decoder_norm"):
        # Encoding multiplies by the decoder's norms and decoding divides: both fold away.
        norms = W_dec.norm(dim=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
    # A plain ReLU file may carry tensors of other architectures; they mean nothing there.
    extra = _EXTRA_TENSORS[settings["architecture"]]
    kept = {name: tensors[name] for name in ("threshold", "W_skip") if name in extra}
    return DictionaryWeights(W_enc, b_enc, W_dec, b_dec, kept.get("threshold"), kept.get("W_skip"))
