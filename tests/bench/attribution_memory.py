"""What traces of shape-true random models need, beside what was estimated before they began.

Models of the true widths, depths and vocabularies, with 16k transcoders of which about 30 features
are active a layer and position. All layers share one layer's random weights, and all transcoders
one's, so that models of ten gigabytes fit a small machine: what a trace needs besides the model
is the same. The peak is of the process's own memory (without pages of files), sampled every 2 ms;
each trace runs in a process of its own, `python -m tests.bench.attribution_memory NAME`.
"""

import ctypes
import gc
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.models.capture import capture
from circuitscope.models.family import ModelFamily
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.memory import estimate_for
from circuitscope.tracing.method import trace

N_FEATURES, N_ACTIVE = 16_384, 30
CASES = {
    "Llama-3.2-1B": (32, 1024),
    "Gemma-2-2b": (32, 512),
    "GPT-2 small": (64, 1024),
}
"""Tokens and node budget."""


def shaped(name: str) -> LoadedModel:
    """Return a random model of a published one's shape; its layers share their weights."""
    import transformers

    from circuitscope.models.families.gemma2 import Gemma2
    from circuitscope.models.families.gpt2 import GPT2
    from circuitscope.models.families.llama import Llama

    family: ModelFamily
    config: Any
    if name == "Llama-3.2-1B":
        family = Llama()
        config = transformers.LlamaConfig(
            architectures=["LlamaForCausalLM"], vocab_size=128_256, hidden_size=2048,
            intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
            num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
        )  # fmt: skip
        kind = transformers.LlamaForCausalLM
    elif name == "Gemma-2-2b":
        family = Gemma2()
        config = transformers.Gemma2Config(architectures=["Gemma2ForCausalLM"])
        kind = transformers.Gemma2ForCausalLM
    else:
        family = GPT2()
        config = transformers.GPT2Config(architectures=["GPT2LMHeadModel"])
        kind = transformers.GPT2LMHeadModel
    config._attn_implementation = "eager"
    with torch.device("meta"):
        module = kind(config)
    _fill(module)
    anatomy = family.describe(config.to_dict())
    module = module.eval().requires_grad_(False)
    return LoadedModel(anatomy, module, None, family, torch.device("cpu"), torch.float32)


def _fill(module: torch.nn.Module) -> None:
    """Give a module on no device random weights, the same ones to every layer."""
    kept: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        plain = ".".join("#" if part.isdigit() else part for part in name.split("."))
        if plain not in kept:
            kept[plain] = torch.empty(tensor.shape).normal_(0, 0.02, generator=generator)
            if "norm" in plain or "ln_" in plain:
                kept[plain] += 1.0
        owner = module.get_submodule(name.rpartition(".")[0])
        last = name.rpartition(".")[2]
        if last in owner._parameters:
            owner._parameters[last] = torch.nn.Parameter(kept[plain], requires_grad=False)
        elif "inv_freq" in last:
            half = len(tensor)
            owner._buffers[last] = 10_000.0 ** (-torch.arange(half) / half)
        elif tensor.dtype == torch.bool:
            owner._buffers[last] = torch.ones(tensor.shape).tril().bool()
        else:
            owner._buffers[last] = torch.full(tensor.shape, module.config.hidden_size**0.5)
    module.tie_weights()


def transcoders(model: LoadedModel, ids: tuple[int, ...]) -> list[Dictionary]:
    """Return one random transcoder for all layers, about N_ACTIVE features active in each."""
    cache, anatomy = capture(model, ids), model.anatomy
    generator = torch.Generator().manual_seed(1)
    W_enc = torch.randn(anatomy.d_model, N_FEATURES, generator=generator) / anatomy.d_model**0.5
    W_dec = torch.randn(N_FEATURES, anatomy.d_model, generator=generator) / anatomy.d_model**0.5
    found = []
    for layer in range(anatomy.n_layers):
        h = cache.mlp_in[layer] @ W_enc
        bias = -float(h.flatten().topk(N_ACTIVE * len(ids)).values[-1])
        card = DictionaryCard(
            f"t{layer}", "random", "", str(layer), Site.MLP_IN, Site.MLP_OUT, (layer,),
            anatomy.d_model, anatomy.d_model, N_FEATURES, metrics={"l0": float(N_ACTIVE)},
        )  # fmt: skip
        biases = torch.full((N_FEATURES,), bias), torch.zeros(anatomy.d_model)
        found.append(Dictionary(card, DictionaryWeights(W_enc, biases[0], W_dec, biases[1])))
    return found


class Peak:
    """Watch the process's own memory by phases; a `Progress`."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self.by_phase: dict[str, int] = {}
        self._now, self._first, self._going = "", _own_memory(), True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self._going:
            extra = _own_memory() - self._first
            self.by_phase[self._now] = max(self.by_phase.get(self._now, 0), extra)
            time.sleep(0.002)

    def phase(self, name: str, total: int = 0) -> None:
        """Begin a phase."""
        self._now = name

    def advance(self, steps: int = 1) -> None:
        """Hear nothing."""

    def partial(self, result: Any) -> None:
        """Hear nothing."""

    def note(self, text: str) -> None:
        """Hear nothing."""

    def stop(self) -> int:
        """Return the most extra bytes seen."""
        self._going = False
        self._thread.join()
        return max(self.by_phase.values())


def _own_memory() -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measure(name: str) -> dict[str, Any]:
    """Measure one case."""
    n_tokens, budget = CASES[name]
    model = shaped(name)
    generator = torch.Generator().manual_seed(2)
    ids = tuple(torch.randint(5, 50_000, (n_tokens,), generator=generator).tolist())
    found = transcoders(model, ids)
    settings = TraceSettings(ids, method="attribution", max_nodes=budget)
    estimated = estimate_for(model, found, settings, n_tokens)
    peak = Peak()
    start = time.perf_counter()
    circuit = trace(model, settings, found, peak)
    return {
        "tokens": n_tokens, "budget": budget, "estimated": estimated.total, "measured": peak.stop(),
        "phases": peak.by_phase, "seconds": time.perf_counter() - start,
        "nodes": len(circuit.nodes), "edges": len(circuit.edges),
        "parts": {part: getattr(estimated, part) for part in estimated.__slots__},
    }  # fmt: skip


def run() -> list[dict[str, Any]]:
    """Measure every case in a process of its own; the baseline is the estimate."""
    rows = []
    for name in CASES:
        command = [sys.executable, "-m", "tests.bench.attribution_memory", name]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(said.splitlines()[-1])
        measured, estimated = found["measured"] / 1e6, found["estimated"] / 1e6
        rows.append({
            "name": f"memory of a trace: {name}, {found['tokens']} tokens, "
            f"{found['budget']} nodes, measured / estimated",
            "value": measured, "unit": "MB", "baseline": estimated, "ratio": measured / estimated,
        })  # fmt: skip
        assert 1 / 1.15 <= measured / estimated <= 1.15, f"{name}: {rows[-1]}"
    return rows


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1])) + "\n")
