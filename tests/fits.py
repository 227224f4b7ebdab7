"""What fits in 8, 24 and 80 GB: the table of the README, by the estimate of the trace dialog.

`tests/bench/attribution_memory.py` compares the estimate with what traces of such shapes need.
"""

from dataclasses import replace

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.settings import TraceSettings
from circuitscope.tracing.memory import estimate

SIZES = ((32, 1024), (64, 2048), (256, 4096))
"""Tokens and node budget."""
MEMORIES = (8, 24, 80)
SHARE = 0.85
"""Of a machine's memory; the rest is the system's and the window's."""

_LLAMA = ModelAnatomy(
    "LlamaForCausalLM", "Llama-3.2-1B", n_layers=16, d_model=2048, n_heads=32, n_kv_heads=8,
    d_head=64, d_mlp=8192, d_vocab=128_256, n_ctx=131_072, norm="rms", gated_mlp=True,
)  # fmt: skip
_GPT2 = replace(
    _LLAMA, architecture="GPT2LMHeadModel", name="GPT-2 small", n_layers=12, d_model=768,
    n_heads=12, n_kv_heads=12, d_mlp=3072, d_vocab=50_257, gated_mlp=False,
)  # fmt: skip
_GEMMA = replace(
    _LLAMA, architecture="Gemma2ForCausalLM", name="Gemma-2-2b", n_layers=26, d_model=2304,
    n_heads=8, n_kv_heads=4, d_head=256, d_mlp=9216, d_vocab=256_000, norm_place="sandwich",
)  # fmt: skip
_QWEN = replace(
    _LLAMA, architecture="Qwen3ForCausalLM", name="Qwen3-4B", n_layers=36, d_model=2560,
    n_heads=32, n_kv_heads=8, d_head=128, d_mlp=9728, d_vocab=151_936,
)  # fmt: skip
CASES = (
    ("GPT-2 small, 24k transcoders", _GPT2, 24_576, 0.124e9, False),
    ("Llama-3.2-1B, 16k transcoders", _LLAMA, 16_384, 1.24e9, False),
    ("Gemma-2-2b, 16k transcoders", _GEMMA, 16_384, 2.61e9, False),
    ("Gemma-2-2b, cross-layer, 16k a layer", _GEMMA, 16_384, 2.61e9, True),
    ("Qwen3-4B, 160k transcoders", _QWEN, 163_840, 4.02e9, False),
)
"""Name, model, features, parameters, whether the transcoder is one across layers."""


def needed(
    anatomy: ModelAnatomy, n_features: int, parameters: float, crosses: bool, size: tuple[int, int]
) -> float:
    """Return the bytes of model and trace: float32, dictionaries read from their files."""
    n_tokens, budget = size
    spans = [tuple(range(anatomy.n_layers))] if crosses else [(n,) for n in range(anatomy.n_layers)]
    cards = [
        DictionaryCard(
            f"t{span[0]}", "", "", str(span[0]), Site.MLP_IN, Site.MLP_OUT, span, anatomy.d_model,
            anatomy.d_model, n_features,
        )
        for span in spans
    ]  # fmt: skip
    settings = TraceSettings("", method="attribution", max_nodes=budget)
    return 4 * parameters + estimate(anatomy, cards, settings, n_tokens, unread=()).total


def table() -> str:
    """Return the rows of the README's table."""
    lines = []
    for name, *shape in CASES:
        cells = []
        for memory in MEMORIES:
            fitting = [size for size in SIZES if needed(*shape, size) <= SHARE * memory * 1e9]
            cells.append(", ".join(map(str, fitting[-1])) if fitting else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
