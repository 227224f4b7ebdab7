"""A Hugging Face module frozen by hand, in float64, with nothing of ours: edges by autograd.

Norms, attention and MLPs get forwards that are linear in their input; chosen outputs are cut into
leaves. An edge is what its source wrote times the gradient of the target's pre-activation there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from circuitscope.core.anatomy import Site
from circuitscope.core.keys import NodeKey, NodeKind

_ROOT = math.sqrt(2 / math.pi)
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda z: (z > 0).to(z),
    "silu": torch.sigmoid,
    "gelu": lambda z: 0.5 * (1 + torch.erf(z / math.sqrt(2))),
    "gelu_new": lambda z: 0.5 * (1 + torch.tanh(_ROOT * (z + 0.044715 * z**3))),
    "gelu_pytorch_tanh": lambda z: 0.5 * (1 + torch.tanh(_ROOT * (z + 0.044715 * z**3))),
}
"""act(z) / z."""


@dataclass
class Sae:
    """A dictionary: weights in SAELens' names, what it reads, and what it writes."""

    w: dict[str, Tensor]
    read: str
    write: str
    layer: int
    k: int | None = None
    subtracts: bool = True
    """Whether its encoder reads x - b_dec."""
    signed: bool = False
    """Whether activations may be negative, as circuit-tracer's."""
    norm: str = "none"

    @property
    def at(self) -> tuple[str, int]:
        """Return the leaf that it writes to."""
        return self.write, self.layer

    def scale(self, x: Tensor) -> Tensor:
        """Return what each position is divided by, [pos, 1]."""
        if self.norm == "layer_norm":
            return x.std(-1, keepdim=True) + 1e-5
        if self.norm == "constant_norm_rescale":
            return x.norm(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
        return torch.ones_like(x[:, :1])

    def preactivations(self, x: Tensor) -> Tensor:
        scale = self.scale(x.detach())
        if self.norm in ("layer_norm", "centred"):
            x = x - x.mean(-1, keepdim=True)
        x = x / scale
        x = x - self.w["b_dec"] if self.subtracts else x
        return x @ self.w["W_enc"] + self.w["b_enc"]

    def values(self, h: Tensor) -> Tensor:
        kept = h if self.signed else h.clamp(min=0)
        if self.k is not None:
            least = h.topk(self.k, -1).values[..., -1:]
            return torch.where(h >= least, kept, 0.0)
        return torch.where(h > self.w.get("threshold", torch.zeros(())), kept, 0.0)


class ByHand:
    """The module of a folder, frozen at one prompt; `seen` holds what passes, with its graph.

    Names in `seen` and `leaf`: embed, pos, logits, final; and with a layer: pre, mid, post (the
    stream), attn_in, mlp_in (after the norm), mlp_hat (before its gain), z, attn_write, attn,
    neuron, hidden, mlp_write, mlp (before and after the norm that follows).

    Args:
        folder: Of the model.
        ids: The prompt.
        saes: Dictionaries by the site of their features and layer.
        cuts: Which of attn_write, attn, mlp_write, mlp are leaves; the others pass.
    """

    def __init__(
        self,
        folder: Path,
        ids: tuple[int, ...],
        saes: dict[tuple[Site, int], Sae],
        cuts: tuple[str, ...] = ("attn", "mlp"),
    ) -> None:
        from transformers import AutoModelForCausalLM

        self.module = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
        self.module.double().eval().requires_grad_(False)
        self.config = self.module.config.get_text_config()
        self.kind = type(self.module).__name__
        base = self.module.base_model
        self.core: Any = getattr(base, "language_model", base)
        self.layers = self.core.h if hasattr(self.core, "h") else self.core.layers
        self.saes, self.cuts = saes, cuts
        self.plain: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self.seen: dict[Any, Tensor] = {}
        self.leaf: dict[Any, Tensor] = {}
        self.before: dict[Any, Tensor] = {}
        self.changed: tuple[Any, int, Tensor] | None = None
        self.prompt = prompt = torch.tensor([ids])
        hooks = [m.register_forward_hook(self._note(m)) for m in self.module.modules()]
        with torch.no_grad():
            out = self.module(prompt, output_attentions=True)
        for hook in hooks:
            hook.remove()
        self.patterns = out.attentions
        self._freeze()
        raw = self.module.get_output_embeddings()
        raw.register_forward_hook(lambda _, __, out: self.seen.update(logits=out[0]))
        self.module(prompt, use_cache=False)

    # What is where

    def _freeze(self) -> None:
        final = next(
            getattr(self.core, name)
            for name in ("ln_f", "final_layer_norm", "norm")
            if hasattr(self.core, name)
        )
        self._freeze_norm(final, "final")
        for layer, block in enumerate(self.layers):
            block.register_forward_pre_hook(
                lambda _, args, layer=layer: self.seen.update({("pre", layer): args[0][0]})
            )
            block.register_forward_hook(
                lambda _, __, out, layer=layer: self.seen.update(
                    {("post", layer): (out[0] if isinstance(out, tuple) else out)[0]}
                )
            )
            names = dict(block.named_children())
            before = {
                "ln_1": "attn_in", "ln_2": "mlp_in", "input_layernorm": "attn_in",
                "post_attention_layernorm": "mlp_in",
            }  # fmt: skip
            if "post_feedforward_layernorm" in names:
                before |= {
                    "post_attention_layernorm": "attn", "pre_feedforward_layernorm": "mlp_in",
                    "post_feedforward_layernorm": "mlp",
                }  # fmt: skip
            for name, called in before.items():
                if name in names:
                    self._freeze_norm(names[name], (called, layer))
            attention = next(names[n] for n in ("attn", "attention", "self_attn") if n in names)
            self._freeze_attention(attention, layer, normed="attn" in before.values())
            self._freeze_mlp(block.mlp, layer, normed="mlp" in before.values())
        embeddings = {"pos": self.core.wpe} if hasattr(self.core, "wpe") else {}
        for name, part in {"embed": self.module.get_input_embeddings(), **embeddings}.items():
            part.register_forward_hook(lambda _, __, out, name=name: self._cut(name, out))

    def _note(self, module: nn.Module) -> Callable[..., None]:
        def note(_: Any, args: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            self.plain[module] = (args[0] if args else None, first)

        return note

    def without(self, name: Any, position: int, vector: Tensor) -> None:
        """Run again with every leaf held, but for a vector taken off one: a measurement."""
        self.seen, self.changed = {}, (name, position, vector)
        with torch.no_grad():
            self.module(self.prompt, use_cache=False)
        self.changed = None

    def _cut(self, name: Any, output: Tensor) -> Tensor:
        self.seen[name] = output[0]
        if self.changed is not None:
            held, (place, position, vector) = self.leaf[name].detach().clone(), self.changed
            if name == place:
                held.reshape(-1, held.shape[-1])[position] -= vector
            return held
        self.leaf[name] = output.detach().clone().requires_grad_()
        return self.leaf[name]

    def _pass(self, name: str, layer: int, output: Tensor) -> Tensor:
        self.seen[name, layer] = output[0]
        if name not in self.cuts:
            return output
        leaf = self._cut((name, layer), output)
        for sae in self.saes.values():
            if sae.at == (name, layer) and "W_skip" in sae.w:
                x = self.seen[sae.read, layer]
                before = self.before.setdefault((sae.read, layer), x.detach())
                leaf = leaf + ((x - before) @ sae.w["W_skip"].T)[None]
        return leaf

    def _freeze_norm(self, norm: Any, name: Any) -> None:
        x0, kind = self.plain[norm][0], type(norm).__name__
        centres = kind == "LayerNorm"
        eps = getattr(norm, "eps", None) or norm.variance_epsilon
        spread = x0.var(-1, unbiased=False, keepdim=True) if centres else x0.square().mean(
            -1, keepdim=True
        )  # fmt: skip
        scale = (spread + eps).sqrt()
        gain = 1 + norm.weight if kind.startswith("Gemma") else norm.weight

        def forward(x: Tensor) -> Tensor:
            if name[0] == "mlp_in":
                self.seen["mid", name[1]] = x[0]
            hat = (x - x.mean(-1, keepdim=True) if centres else x) / scale
            out = hat * gain + (norm.bias if centres else 0)
            if name[0] == "mlp_in":
                self.seen["mlp_hat", name[1]] = hat[0]
            return self._pass(*name, out) if isinstance(name, tuple) else self._final(out)

        norm.forward = forward

    def _final(self, out: Tensor) -> Tensor:
        self.seen["final"] = out[0]
        return out

    def _freeze_attention(self, attention: Any, layer: int, *, normed: bool) -> None:
        write = next(
            getattr(attention, name)
            for name in ("c_proj", "o_proj", "dense")
            if hasattr(attention, name)
        )
        pattern = self.patterns[layer]
        n_heads = pattern.shape[1]

        def values(x: Tensor) -> Tensor:
            if hasattr(attention, "c_attn"):
                v = attention.c_attn(x).chunk(3, -1)[2]
            elif hasattr(attention, "query_key_value"):
                joined = attention.query_key_value(x).unflatten(-1, (n_heads, -1))
                return joined.chunk(3, -1)[2].transpose(1, 2)
            elif hasattr(attention, "qkv_proj"):
                d_head, n_kv = self.config.hidden_size // n_heads, self.config.num_key_value_heads
                v = attention.qkv_proj(x)[..., -n_kv * d_head :]
            else:
                v = attention.v_proj(x)
            d_head = getattr(attention, "head_dim", None) or self.config.hidden_size // n_heads
            return v.unflatten(-1, (-1, d_head)).transpose(1, 2)

        def forward(hidden_states: Tensor, *_: Any, **__: Any) -> Any:
            v = values(hidden_states)
            z = (pattern @ v.repeat_interleave(n_heads // v.shape[1], 1)).transpose(1, 2)
            self.seen["z", layer] = z[0]
            out = self._pass("attn_write", layer, write(z.flatten(2)))
            return (out if normed else self._pass("attn", layer, out)), None

        attention.forward = forward

    def _freeze_mlp(self, mlp: Any, layer: int, *, normed: bool) -> None:
        config = self.config
        name = next(
            getattr(config, key)
            for key in ("hidden_activation", "activation_function", "hidden_act")
            if getattr(config, key, None) is not None
        )
        gate = GATES[name]
        plain = next((n for n in ("c_fc", "dense_h_to_4h") if hasattr(mlp, n)), None)
        write = next(
            getattr(mlp, n) for n in ("c_proj", "dense_4h_to_h", "down_proj") if hasattr(mlp, n)
        )
        if plain is not None:
            read = getattr(mlp, plain)
            z0 = self.plain[read][1]
        elif hasattr(mlp, "gate_up_proj"):
            g0, u0 = self.plain[mlp.gate_up_proj][1].chunk(2, -1)
        else:
            g0, u0 = self.plain[mlp.gate_proj][1], self.plain[mlp.up_proj][1]

        def forward(x: Tensor) -> Tensor:
            # Where no norm stands before it, the MLP reads the stream itself.
            self.seen.setdefault(("mlp_in", layer), x[0])
            self.seen.setdefault(("mid", layer), x[0])
            if plain is not None:
                self.seen["neuron", layer] = read(x)[0]
                hidden = gate(z0) * read(x)
            else:
                if hasattr(mlp, "gate_up_proj"):
                    g, u = mlp.gate_up_proj(x).chunk(2, -1)
                else:
                    g, u = mlp.gate_proj(x), mlp.up_proj(x)
                hidden = gate(g0) * (u0 * g + g0 * u) / 2
                self.seen["neuron", layer] = hidden[0]
            self.seen["hidden", layer] = hidden[0]
            out = self._pass("mlp_write", layer, write(hidden))
            return out if normed else self._pass("mlp", layer, out)

        mlp.forward = forward

    # What nodes hold and write

    def head_writes(self, layer: int, head: int) -> Tensor:
        names = dict(self.layers[layer].named_children())
        attention = next(names[n] for n in ("attn", "attention", "self_attn") if n in names)
        if hasattr(attention, "c_proj"):
            W = attention.c_proj.weight
        else:
            W = getattr(attention, "o_proj", getattr(attention, "dense", None)).weight.T
        return W.detach().unflatten(0, (self.patterns[0].shape[1], -1))[head]

    def neuron_writes(self, layer: int, unit: int) -> Tensor:
        mlp = self.layers[layer].mlp
        if hasattr(mlp, "c_proj"):
            return mlp.c_proj.weight.detach()[unit]
        return getattr(mlp, "down_proj", getattr(mlp, "dense_4h_to_h", None)).weight.T[unit]

    def preactivations(self, key: NodeKey) -> Tensor:
        sae = self.saes[key.site, key.layer]
        return sae.preactivations(self.seen[sae.read, key.layer])

    def scalar(self, key: NodeKey, *, centred: bool = False) -> Tensor:
        at, unit, layer = key.position, key.unit, key.layer
        if key.kind is NodeKind.LOGIT:
            logits = self.seen["logits"][at]
            return logits[unit] - logits.mean() if centred else logits[unit]
        if key.kind is NodeKind.NEURON:
            return self.seen["neuron", layer][at, unit]
        if key.kind is NodeKind.HEAD:
            write = self.seen["z", layer][at, unit] @ self.head_writes(layer, unit)
            return write @ (write / write.norm()).detach()
        return self.preactivations(key)[at, unit]

    def written(self, key: NodeKey) -> tuple[Any, Tensor]:
        """Return the leaf that a node writes to, and what it writes there."""
        at, unit, layer = key.position, key.unit, key.layer
        if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
            name = "embed" if key.kind is NodeKind.TOKEN else "pos"
            return name, self.seen[name][at]
        if key.kind is NodeKind.HEAD:
            write = self.seen["z", layer][at, unit] @ self.head_writes(layer, unit)
            return ("attn", layer), write
        if key.kind is NodeKind.NEURON:
            write = self.seen["hidden", layer][at, unit] * self.neuron_writes(layer, unit)
            return ("mlp", layer), write
        sae = self.saes.get((key.site, layer))
        if sae is None:
            name = "attn" if key.site is Site.ATTN_OUT else "mlp"
            return (name, layer), self.seen[name, layer][at]
        values = sae.values(self.preactivations(key)) * sae.scale(self.seen[sae.read, layer])
        if key.kind is NodeKind.FEATURE:
            return sae.at, values[at, unit] * sae.w["W_dec"][unit]
        scale = sae.scale(self.seen[sae.read, layer])[at]
        rebuilt = values[at] @ sae.w["W_dec"] + scale * sae.w["b_dec"]
        if "W_skip" in sae.w:
            rebuilt = rebuilt + self.seen[sae.read, layer][at] @ sae.w["W_skip"].T
        return sae.at, self.seen[sae.write, layer][at] - rebuilt
