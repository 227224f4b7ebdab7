"""Edges anew, from nothing of ours: autograd on the real module, frozen by hand, in float64.

Norms, attention and MLPs of the Hugging Face module get forwards that are linear in their input;
every module's output is cut into a leaf. An edge is what its source wrote times the gradient of
the target's pre-activation at that leaf.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from sae_lens_writer import write_sae
from safetensors.torch import load_file
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import load_model
from circuitscope.tracing.method import trace

PROMPT = "the capital of the state containing Dallas is"
SETS = {"attn_out": "standard", "mlp_out": "jumprelu", "transcoder": "jumprelu_transcoder"}


class ByHand:
    """The module of a folder, frozen at one prompt; `seen` holds what passes, with its graph."""

    def __init__(self, folder: Path, ids: tuple[int, ...], saes: dict) -> None:
        from transformers import AutoModelForCausalLM

        self.module = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
        self.module.double().eval()
        self.gpt2 = hasattr(self.module, "transformer")
        self.core = self.module.transformer if self.gpt2 else self.module.model
        self.layers = self.core.h if self.gpt2 else self.core.layers
        self.saes, self.plain, self.seen, self.leaf = saes, {}, {}, {}
        prompt = torch.tensor([ids])
        hooks = [m.register_forward_hook(self._note(m)) for m in self.module.modules()]
        with torch.no_grad():
            out = self.module(prompt, output_attentions=True)
        for hook in hooks:
            hook.remove()
        self.patterns, self.logits = out.attentions, out.logits[0]
        for layer, block in enumerate(self.layers):
            norms, attention, mlp = self._parts(block)
            for name, norm in zip(("attn_in", "mlp_in"), norms, strict=True):
                self._freeze_norm(norm, (name, layer))
            self._freeze_attention(attention, layer)
            self._freeze_mlp(mlp, layer)
        self._freeze_norm(self.core.ln_f if self.gpt2 else self.core.norm, "final")
        embeddings = {"pos": self.core.wpe} if self.gpt2 else {}
        for name, part in {"embed": self.module.get_input_embeddings(), **embeddings}.items():
            part.register_forward_hook(lambda _, __, out, name=name: self._cut(name, out))
        self.seen["logits"] = self.module(prompt, use_cache=False).logits[0]

    def _parts(self, block):
        if self.gpt2:
            return (block.ln_1, block.ln_2), block.attn, block.mlp
        return (block.input_layernorm, block.post_attention_layernorm), block.self_attn, block.mlp

    def _note(self, module):
        def note(_, args, output):
            first = output[0] if isinstance(output, tuple) else output
            self.plain[module] = (args[0] if args else None, first)

        return note

    def _cut(self, name, output: Tensor) -> Tensor:
        self.seen[name] = output[0]
        self.leaf[name] = output.detach().clone().requires_grad_()
        return self.leaf[name]

    def _freeze_norm(self, norm, name) -> None:
        x0 = self.plain[norm][0]
        if self.gpt2:
            scale = (x0.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
        else:
            scale = (x0.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()

        def forward(x: Tensor) -> Tensor:
            seen = x - x.mean(-1, keepdim=True) if self.gpt2 else x
            out = seen / scale * norm.weight + (norm.bias if self.gpt2 else 0)
            self.seen[name] = out[0]
            return out

        norm.forward = forward

    def _freeze_attention(self, attention, layer: int) -> None:
        write = attention.c_proj if self.gpt2 else attention.o_proj

        def forward(hidden_states: Tensor, *_, **__):
            x, pattern = hidden_states, self.patterns[layer]
            v = attention.c_attn(x).chunk(3, -1)[2] if self.gpt2 else attention.v_proj(x)
            v = v.view(1, x.shape[1], -1, attention.head_dim).transpose(1, 2)
            z = pattern @ v.repeat_interleave(pattern.shape[1] // v.shape[1], 1)
            z = z.transpose(1, 2)
            self.seen["z", layer] = z[0]
            return self._cut(("attn", layer), write(z.flatten(2))), None

        attention.forward = forward

    def _freeze_mlp(self, mlp, layer: int) -> None:
        if self.gpt2:
            z0 = self.plain[mlp.c_fc][1]
            gate = 0.5 * (1 + torch.tanh((2 / np.pi) ** 0.5 * (z0 + 0.044715 * z0**3)))
        else:
            g0, u0 = self.plain[mlp.gate_proj][1], self.plain[mlp.up_proj][1]

        def forward(x: Tensor) -> Tensor:
            if self.gpt2:
                self.seen["neuron", layer] = mlp.c_fc(x)[0]
                hidden, write = gate * mlp.c_fc(x), mlp.c_proj
            else:
                s = torch.sigmoid(g0)
                hidden = (s * u0 * mlp.gate_proj(x) + s * g0 * mlp.up_proj(x)) / 2
                self.seen["neuron", layer], write = hidden[0], mlp.down_proj
            self.seen["hidden", layer] = hidden[0]
            return self._cut(("mlp", layer), write(hidden))

        mlp.forward = forward

    def head_writes(self, layer: int, head: int) -> Tensor:
        _, attention, _ = self._parts(self.layers[layer])
        W = attention.c_proj.weight if self.gpt2 else attention.o_proj.weight.T
        return W.detach().unflatten(0, (-1, attention.head_dim))[head]

    def neuron_writes(self, layer: int, unit: int) -> Tensor:
        mlp = self.layers[layer].mlp
        return (mlp.c_proj.weight if self.gpt2 else mlp.down_proj.weight.T).detach()[unit]

    def preactivations(self, key: NodeKey) -> Tensor:
        w = self.saes[key.site, key.layer]
        name = {Site.ATTN_OUT: "attn", Site.MLP_OUT: "mlp", Site.MLP_TRANSCODER: "mlp_in"}[key.site]
        return (self.seen[name, key.layer] - w["b_dec"]) @ w["W_enc"] + w["b_enc"]

    def scalar(self, key: NodeKey) -> Tensor:
        at, unit, layer = key.position, key.unit, key.layer
        if key.kind is NodeKind.LOGIT:
            return self.seen["logits"][at, unit]
        if key.kind is NodeKind.NEURON:
            return self.seen["neuron", layer][at, unit]
        if key.kind is NodeKind.HEAD:
            write = self.seen["z", layer][at, unit] @ self.head_writes(layer, unit)
            return write @ (write / write.norm()).detach()
        return self.preactivations(key)[at, unit]

    def written(self, key: NodeKey) -> tuple[object, Tensor]:
        at, unit, layer = key.position, key.unit, key.layer
        if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
            name = "embed" if key.kind is NodeKind.TOKEN else "pos"
            return name, self.seen[name][at]
        module = ("attn" if key.site in (Site.ATTN_OUT, Site.HEAD_Z) else "mlp", layer)
        if key.kind is NodeKind.HEAD:
            return module, self.seen["z", layer][at, unit] @ self.head_writes(layer, unit)
        if key.kind is NodeKind.NEURON:
            return module, self.seen["hidden", layer][at, unit] * self.neuron_writes(layer, unit)
        w = self.saes[key.site, layer]
        h = self.preactivations(key)
        values = torch.where(h > w["threshold"], h.clamp(min=0), 0.0)
        if key.kind is NodeKind.FEATURE:
            return module, values[at, unit] * w["W_dec"][unit]
        return module, self.seen[module][at] - values[at] @ w["W_dec"] - w["b_dec"]


def sampled(circuit: Circuit, n: int = 200) -> np.ndarray:
    """Return edges at random, sorted by target, constants left out."""
    able = np.flatnonzero(~circuit.nodes.of_kind(NodeKind.BIAS)[circuit.edges.source])
    return np.sort(np.random.default_rng(0).permutation(able)[:n])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("how", [{"mlp": "secant"}, {"mlp": "transcoder"}, {"units": "neurons"}])
def test_edges_are_what_autograd_finds(kind, how, request, tmp_path):
    folder, saes = request.getfixturevalue(f"tiny_{kind}"), {}
    for layer in range(2):
        for name, architecture in SETS.items():
            place = write_sae(tmp_path / f"{name}{layer}", name, layer, architecture, seed=4)
            w = {k: v.double() for k, v in load_file(place / "sae_weights.safetensors").items()}
            site = Site.MLP_TRANSCODER if name == "transcoder" else Site.parse(name)
            saes[site, layer] = {"threshold": torch.zeros(()), **w}
    model = load_model(folder, device="cpu")
    settings = TraceSettings(PROMPT, targets=(Logit(), Logit("Texas", 4)), max_nodes=None, **how)
    circuit = trace(model, settings, load_dictionaries(tmp_path))
    by_hand = ByHand(folder, circuit.token_ids, saes)

    edges, nodes = circuit.edges, circuit.nodes
    largest = np.zeros(len(nodes))
    np.maximum.at(largest, edges.target, np.abs(edges.weight))
    leaves = by_hand.leaf
    target, grads = -1, {}
    for edge in sampled(circuit):
        if edges.target[edge] != target:
            target = int(edges.target[edge])
            scalar = by_hand.scalar(nodes.key(target))
            assert float(scalar.detach()) == pytest.approx(
                circuit.preactivation[target], rel=1e-4, abs=1e-5
            )
            found = torch.autograd.grad(
                scalar, list(leaves.values()), retain_graph=True, allow_unused=True
            )
            grads = dict(zip(leaves, found, strict=True))
        key = nodes.key(int(edges.source[edge]))
        name, vector = by_hand.written(key)
        # The embedding of positions is looked up once for the batch.
        expected = float(grads[name].reshape(-1, 16)[key.position] @ vector.detach())
        assert abs(edges.weight[edge] - expected) < 1e-5 * largest[target]
