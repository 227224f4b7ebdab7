"""SAELens: a folder with cfg.json and sae_weights.safetensors.

Settings have two dialects: version 6 keeps what concerns the model under "metadata"; older files
are flat, call the hook `hook_point` and name TopK by its activation function. Both are brought to
one form by `_settings`, everything after reads that.

BatchTopK is TopK over a batch in training; what was learned is its threshold, and by that it is
read. Scales of decoder norms, of a gate, of finetuning and of the input's mean norm fold into one
factor a feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.hook_names import parse_hook_name
from circuitscope.dictionaries.shapes import check_weights, need
from circuitscope.dictionaries.tensor_files import (
    header_digest,
    map_tensors,
    read_json,
    shapes_only,
)

CONFIG: Final = "cfg.json"
WEIGHTS: Final = "sae_weights.safetensors"
SCALER: Final = "activation_scaler.json"
"""Left by training: the factor that brings inputs to their expected norm."""

_ACTIVATIONS: Final = {
    "standard": "relu",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
}
_TRANSCODERS: Final = ("transcoder", "skip_transcoder", "jumprelu_transcoder")
_NORMS: Final = (
    "none", "centred", "layer_norm", "constant_norm_rescale", "expected_average_only_in",
)  # fmt: skip


class SaeLens:
    """Read and write SAELens folders, configurations before and since version 6."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder holds both files under their usual names."""
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()

    def cards(self, path: Path) -> tuple[DictionaryCard]:
        """Describe a dictionary from its settings and the header of its weights."""
        settings = _settings(path)
        architecture = settings["architecture"]
        read_site, write_site, layer = _sites(path, settings)
        weights = _weights(path, settings, shapes_only(path / WEIGHTS))
        sizes = (settings.get(name) for name in ("d_in", "d_sae"))
        d_in, d_out, n = check_weights(weights, path / WEIGHTS, *sizes)
        card = DictionaryCard(
            name=path.name,
            format="sae_lens",
            path=str(path),
            digest=header_digest(path / CONFIG, path / WEIGHTS),
            read_site=read_site,
            write_site=write_site,
            layers=(layer,),
            d_in=d_in,
            d_out=d_out,
            n_features=n,
            activation=_ACTIVATIONS[architecture],
            k=int(settings["k"]) if architecture == "topk" else None,
            decoder_bias_subtracted=bool(settings.get("apply_b_dec_to_input")),
            input_norm=_input_norm(path, settings),
            skip=weights.W_skip is not None,
            model_name=str(settings.get("model_name") or ""),
            metrics=_metrics(settings),
        )
        return (card,)

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Open a dictionary; its matrices stay in the mapped file on the processor."""
        path = Path(card.path)
        loaded = Dictionary(card, _weights(path, _settings(path), map_tensors(path / WEIGHTS)))
        return loaded if str(device) == "cpu" else loaded.to(device)


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
    if flat["architecture"] == "topk" and not _is_count(flat.get("k")):
        raise DictionaryError(
            f"{path.name} is a TopK dictionary, but {CONFIG} does not say how many it keeps.",
            hint='Add "k" to its settings.',
        )
    return flat


def _is_count(k: Any) -> bool:
    return isinstance(k, int) and not isinstance(k, bool) and k > 0


def _input_norm(path: Path, settings: Mapping[str, Any]) -> str:
    norm = settings.get("normalize_activations", "none")
    # Before 3.0 this was a truth value; true meant what is now called expected_average_only_in.
    norm = {True: "expected_average_only_in", False: "none", None: "none"}.get(norm, norm)
    if norm == "expected_average_only_in" and _scaler(path) is not None:
        norm = "none"
    kwargs = settings.get("model_from_pretrained_kwargs")
    if norm == "none" and isinstance(kwargs, Mapping) and kwargs.get("center_writing_weights"):
        norm = "centred"
    if norm not in _NORMS:
        raise DictionaryError(
            f"{path.name} normalises its input by {norm!r}, which CircuitScope does not know.",
            hint=f"Normalisations that can be read: {', '.join(_NORMS)}.",
        )
    return str(norm)


def _scaler(path: Path) -> float | None:
    """Return the factor of the input that training left beside the weights."""
    if not (path / SCALER).is_file():
        return None
    factor = read_json(path / SCALER).get("scaling_factor")
    return float(factor) if isinstance(factor, (int, float)) and factor > 0 else None


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


def _weights(
    path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> DictionaryWeights:
    """Return the weights of a file; meta tensors give their shapes."""
    architecture, file = settings["architecture"], path / WEIGHTS
    need(tensors, ("W_enc", "W_dec", "b_dec"), file)
    W_dec = tensors["W_dec"]
    read, write = _scales(path, settings, tensors)
    threshold = None
    if architecture == "gated":
        need(tensors, ("b_gate", "b_mag", "r_mag"), file)
        spread = tensors["r_mag"].float().exp()
        b_enc = tensors["b_mag"].float()
        threshold = b_enc - tensors["b_gate"].float() * spread
        read = spread if read is None else read * spread
    else:
        need(tensors, ("b_enc",), file)
        b_enc = tensors["b_enc"].float()
        if settings.get("rescale_acts_by_decoder_norm"):
            # Encoding multiplies by the decoder's norms and decoding divides.
            norms = W_dec.float().norm(dim=1)
            b_enc = b_enc * norms
            read = norms if read is None else read * norms
            write = 1 / norms if write is None else write / norms
    if _ACTIVATIONS[architecture] == "jumprelu":
        threshold = _threshold(tensors, file, b_enc)
    if architecture == "skip_transcoder":
        need(tensors, ("W_skip",), file)
    skip = tensors["W_skip"].float() if architecture == "skip_transcoder" else None
    b_dec = tensors["b_dec"].float()
    factor = _scaler(path) if settings.get("normalize_activations") not in (None, "none") else None
    return DictionaryWeights(
        tensors["W_enc"], b_enc, W_dec, b_dec if factor is None else b_dec / factor,
        threshold, skip, read, write,
    )  # fmt: skip


def _threshold(tensors: Mapping[str, Tensor], file: Path, b_enc: Tensor) -> Tensor:
    if "log_threshold" in tensors:
        return tensors["log_threshold"].float().exp()
    if "threshold" not in tensors and "topk_threshold" in tensors:
        return tensors["topk_threshold"].float().expand_as(b_enc)
    need(tensors, ("threshold",), file)
    return tensors["threshold"].float()


def _scales(
    path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[Tensor | None, Tensor | None]:
    """Return factors of reading and writing that the input's norm and finetuning leave."""
    read = write = None
    ones = torch.ones_like(tensors["W_dec"][:, 0], dtype=torch.float32)
    if settings.get("normalize_activations") not in (None, "none"):
        factor = _scaler(path)
        if factor is not None:
            read, write = factor * ones, ones / factor
    scale = tensors.get("scaling_factor", tensors.get("finetuning_scaling_factor"))
    if scale is not None and (scale.is_meta or not torch.all(scale == 1)):
        write = scale.float() * (ones if write is None else write)
    return read, write
