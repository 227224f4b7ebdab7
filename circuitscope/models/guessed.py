"""A model of a class that no family describes: its parts are found by looking at the module.

What is found is hooked as in any other model, so it runs, generates, is changed and shows its
lens. What happens between the parts is not known, so nothing of it is traced.

1. Sizes are read from config.json under the names that Hugging Face's classes use.
2. The blocks are the largest list of modules of the right length; what embeds and unembeds, the
   class itself says. In a block, attention and MLP go by their names, and what each writes is its
   last linear map as wide as the stream.
3. A short run shows which of them see what they should; only these count, in every block or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.errors import TraceError, UnsupportedArchitecture
from circuitscope.models.family import (
    AttentionWeights,
    HeadWeights,
    HfModule,
    MlpWeights,
    Norm,
    Part,
)
from circuitscope.models.headers import KEPT

if TYPE_CHECKING:
    from torch import Tensor

_SIZES: dict[str, tuple[str, ...]] = {
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "d_model": ("hidden_size", "n_embd", "d_model", "dim"),
    "d_vocab": ("vocab_size",),
    "n_heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "n_kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "d_head": ("head_dim",),
    "d_mlp": ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim", "d_ff"),
    "n_ctx": ("max_position_embeddings", "n_positions", "n_ctx", "seq_length"),
    "activation": ("hidden_act", "activation_function", "hidden_activation", "activation"),
}
_N_CTX = 2048
"""Longest prompt where config.json names none."""
_ATTENTIONS = ("attn", "attention", "self_attention", "self_attn", "temporal_block")
_MLPS = ("mlp", "ffn", "feed_forward", "feedforward", "fc2", "block_sparse_moe", "moe")


@dataclass(frozen=True, slots=True)
class Guessed:
    """Describe a class by what a module of it shows.

    Attributes:
        architecture: Class name in config.json.
        causal: Whether it is a class of causal language models.
        parts: Path of each part's submodule that was found; none before `fitted`.
        last_norm: What the last norm was found to compute, or None.
        patterns: Whether the attention blocks tell their patterns.
    """

    architecture: str
    causal: bool
    parts: Mapping[Part, str] = field(default_factory=dict)
    last_norm: Norm | None = None
    patterns: bool = False

    def describe(self, config: Mapping[str, Any]) -> ModelAnatomy:
        """Return the anatomy from config.json as far as its names are known."""
        text = config.get("text_config") or config

        def read(name: str, default: Any = None) -> Any:
            found = (text[key] for key in _SIZES[name] if text.get(key) is not None)
            value = next(found, default)
            if value is None:
                raise KeyError(_SIZES[name][0])
            return value

        d_model, n_heads = int(read("d_model")), int(read("n_heads", 1))
        turns = any(key in text for key in ("rope_theta", "rope_parameters", "rope_scaling"))
        return ModelAnatomy(
            architecture=self.architecture,
            name=str(config.get("_name_or_path") or ""),
            n_layers=int(read("n_layers")),
            d_model=d_model,
            n_heads=n_heads,
            n_kv_heads=int(read("n_kv_heads", n_heads)),
            d_head=int(read("d_head", max(1, d_model // n_heads))),
            d_mlp=int(read("d_mlp", 4 * d_model)),
            d_vocab=int(read("d_vocab")),
            n_ctx=int(read("n_ctx", _N_CTX)),
            norm="rms" if "rms_norm_eps" in text else "layer",
            positions="rotary" if turns else "learned",
            activation=str(read("activation", "unknown")),
            causal=self.causal,
        )

    def norm(self, model: HfModule, site: Site, layer: int) -> Norm:
        """Return the last norm where it was found; elsewhere none is known."""
        if site is Site.LN_FINAL and self.last_norm is not None:
            return self.last_norm
        weight = model.get_submodule(self.parts[Part.EMBED]).weight
        return Norm(weight.new_ones(weight.shape[1]), None, 0.0, "none")

    def view(self, model: HfModule, part: Part, output: Tensor) -> Tensor:
        """Return what a submodule computes: no part that is listed shares one."""
        return output

    def turn(self, model: HfModule, layer: int, x: Tensor, position: int, n_pos: int) -> Tensor:
        """Refuse."""
        raise self._unknown()

    def attention_weights(self, model: HfModule, layer: int) -> AttentionWeights:
        """Refuse."""
        raise self._unknown()

    def mlp_weights(self, model: HfModule, layer: int) -> MlpWeights:
        """Refuse."""
        raise self._unknown()

    def head(self, model: HfModule) -> HeadWeights | None:
        """Refuse."""
        raise self._unknown()

    def unembed(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Return W_U [d_model, d_vocab] and b_U [d_vocab] or None."""
        module = model.get_submodule(self.parts[Part.UNEMBED])
        return module.weight.T, module.bias

    def embedding(self, model: HfModule) -> tuple[Tensor, Tensor | None]:
        """Refuse."""
        raise self._unknown()

    def _unknown(self) -> TraceError:
        return TraceError(
            f"What {self.architecture} computes between its parts is not known.",
            kept="The model is loaded: it runs, generates, is changed and shows its lens.",
            hint="The page Which models lists the classes that can be traced.",
        )


def is_guessed(family: object) -> bool:
    """Say whether a model's parts were found by looking, so that it cannot be traced."""
    return isinstance(family, Guessed)


def tells_patterns(family: object) -> bool:
    """Say whether the attention of a family's models gives its patterns, and mixes by them."""
    return not isinstance(family, Guessed) or family.patterns


def guess(architecture: str) -> Guessed | None:
    """Return a description of a language model's class that transformers has, else None."""
    from transformers.models.auto import modeling_auto as known

    causal = known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    masked = known.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()
    if architecture in causal:
        return Guessed(architecture, causal=True)
    return Guessed(architecture, causal=False) if architecture in masked else None


def fitted(family: Guessed, module: HfModule, anatomy: ModelAnatomy) -> Guessed:
    """Return the description with the parts that a loaded module shows.

    Raises:
        UnsupportedArchitecture: Its embedding, blocks or unembedding cannot be found.
    """
    from circuitscope.models.probing import find_norm, seen_parts

    parts = dict(_candidates(module, anatomy))
    found, patterns = seen_parts(module, parts, anatomy)
    kept = {part: path for part, path in parts.items() if part in found}
    if not {Part.EMBED, Part.BLOCK, Part.UNEMBED} <= kept.keys():
        missing = {Part.EMBED, Part.BLOCK, Part.UNEMBED} - kept.keys()
        raise UnsupportedArchitecture(
            f"CircuitScope cannot find its way in a {family.architecture}: no "
            f"{' and no '.join(sorted(missing))} was found.",
            kept=KEPT,
            hint="Choose a model of another class; the page Which models lists those known.",
        )
    norm = None
    if Part.LN_FINAL in kept:
        norm = find_norm(module.get_submodule(kept[Part.LN_FINAL]), anatomy.d_model)
        if norm is None:
            del kept[Part.LN_FINAL]
    return replace(family, parts=kept, last_norm=norm, patterns=patterns)


def _candidates(module: HfModule, anatomy: ModelAnatomy) -> Iterator[tuple[Part, str]]:
    names = {id(part): name for name, part in module.named_modules()}
    for part, one in (
        (Part.EMBED, module.get_input_embeddings()),
        (Part.UNEMBED, module.get_output_embeddings()),
    ):
        if one is not None and id(one) in names:
            yield part, names[id(one)]
    lists = [
        (sum(p.numel() for p in part.parameters()), name)
        for name, part in module.named_modules()
        if type(part).__name__ == "ModuleList" and len(part) == anatomy.n_layers
    ]
    if not lists:
        return
    place = max(lists)[1]
    block = f"{place}.{{layer}}"
    yield Part.BLOCK, block
    if last := _last_norm(module, place):
        yield Part.LN_FINAL, last
    first = module.get_submodule(f"{place}.0")
    places: tuple[tuple[Part | None, Part, tuple[str, ...]], ...] = (
        (Part.ATTENTION, Part.ATTENTION_WRITE, _ATTENTIONS),
        (None, Part.MLP_WRITE, _MLPS),
    )
    for attention, write, called in places:
        child = next((name for name, _ in first.named_children() if name.lower() in called), "")
        if not child:
            continue
        inner, path = first.get_submodule(child), f"{block}.{child}"
        if attention is not None:
            yield attention, _innermost(inner, path)
        if written := _last_linear(inner, anatomy.d_model):
            yield write, ".".join(filter(None, (path, written)))


def _innermost(module: HfModule, path: str) -> str:
    """Return the submodule that attends, inside a wrapper that also writes and adds, as BERT's."""
    inner = [name for name, _ in module.named_children() if name in ("self", "attention")]
    return f"{path}.{inner[0]}" if inner else path


def _last_norm(module: HfModule, blocks: str) -> str:
    """Return the last norm beside the list of blocks, "" where there is none."""
    parent, _, own = blocks.rpartition(".")
    beside = [name for name, _ in module.get_submodule(parent).named_children()]
    after = beside[beside.index(own) + 1 :]
    norms = [name for name in after if "norm" in name.lower() or name.startswith("ln")]
    return ".".join(filter(None, (parent, norms[-1]))) if norms else ""


def _last_linear(module: HfModule, width: int) -> str | None:
    """Return the path of the last linear map that writes the stream; "" where it is the module."""
    found = None
    for name, part in module.named_modules():
        out = getattr(part, "out_features", getattr(part, "nf", None))
        if out == width:
            found = name
    return found
