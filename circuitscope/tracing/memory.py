"""How much memory a trace needs, said before it begins: dictionaries, activations, rows.

Counted from shapes alone, so that the window can show it while settings are chosen. How many
features will be active is not known before the run; it is taken from the dictionaries' own L0
where they state it. The table of rows is counted again, exactly, once the run is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import OutOfMemory
from circuitscope.core.settings import TraceSettings
from circuitscope.models.devices import available_memory
from circuitscope.tracing.method import cards_of
from circuitscope.tracing.packed_walk import BATCH_BYTES, MOST_LIFTED
from circuitscope.tracing.plan import THROUGH, used_cards

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

REFERENCE_BATCH = 512
"""circuit-tracer's batch where none is asked for."""
_FLOAT = 4
_EDGE_BYTES = 40
"""Of an edge while a circuit is made; about a quarter of the possible edges is there."""
_VECTORS_PER_LAYER = 9
"""Vectors of d_model kept per layer: residuals, norms, inputs and outputs."""
_LOGIT_COPIES = 4
"""Logits before and after the soft cap, and what the module makes on the way."""
_USUAL_L0 = 64
_MOST_BATCH = 256e6
_MOST_QUEUE = 512
_BLOCK = 16_000_000
_ROOM = 30_000_000
"""What the C library keeps of freed pieces."""
_MOST_NEURONS = 30_000
_READ_WHOLE = ("gemma_scope", "dictionary_learning")
"""Formats whose files cannot be mapped into memory."""


@dataclass(frozen=True, slots=True)
class TraceMemory:
    """Bytes that a trace needs besides the loaded model.

    Attributes:
        weights: One layer upcast, where the model is held in another precision.
        dictionaries: Their encoders and decoders.
        activations: The forward pass and every writer's vector.
        rows: The table of attributions.
    """

    weights: int
    dictionaries: int
    activations: int
    rows: int

    @property
    def total(self) -> int:
        """Return all of it."""
        return self.weights + self.dictionaries + self.activations + self.rows


def estimate(
    anatomy: ModelAnatomy,
    cards: Sequence[DictionaryCard],
    settings: TraceSettings,
    n_pos: int,
    *,
    dtype: str = "float32",
    unread: Sequence[DictionaryCard] | None = None,
) -> TraceMemory:
    """Return what a trace needs.

    Args:
        anatomy: The model.
        cards: The dictionaries that will be used.
        settings: What is asked for.
        n_pos: Tokens of the prompt.
        dtype: In which the model's weights are held.
        unread: Those of the dictionaries that are not in memory yet; all where left out.
    """
    still = cards if unread is None else [card for card in cards if card in unread]
    number = 8 if settings.dtype == "float64" else _FLOAT
    n_sources = _n_sources(anatomy, cards, settings, n_pos)
    n_rows = n_sources if settings.max_nodes is None else min(settings.max_nodes, n_sources)
    vectors = n_sources * anatomy.d_model
    if settings.method == THROUGH:
        vectors += int(sum(n_pos * _later(card) for card in cards)) * anatomy.d_model
        batch = _packed(anatomy, n_rows, n_sources, n_pos) * number
        if dtype != settings.dtype:
            batch += anatomy.n_layers * anatomy.n_heads * anatomy.d_head * anatomy.d_model * number
        widths = [card.n_features for card in cards]
        room = _ROOM
        encoding = (3 * n_pos * max(widths, default=0) + _BLOCK) * number
    else:
        batch = int(min(_MOST_BATCH, n_rows * n_pos * anatomy.d_model * number) * 3)
        encoding = room = 0
    return TraceMemory(
        weights=0 if dtype == settings.dtype else _layer_weights(anatomy) * number,
        dictionaries=sum(_weights_of(card) for card in still) * _FLOAT,
        activations=(_cache(anatomy, n_pos) + vectors) * number + max(batch, encoding) + room,
        rows=n_rows * n_sources * number + _kept(anatomy, cards, n_rows, n_sources, n_pos),
    )


def _cache(anatomy: ModelAnatomy, n_pos: int) -> int:
    """Return the numbers of a forward pass."""
    heads = (anatomy.n_heads + anatomy.n_kv_heads) * anatomy.d_head
    vectors = _VECTORS_PER_LAYER + (4 if anatomy.norms_outputs else 0)
    widths = vectors * anatomy.d_model + heads
    widths += (3 if anatomy.gated_mlp else 2) * anatomy.d_mlp
    layer = n_pos * widths + anatomy.n_heads * n_pos**2
    return anatomy.n_layers * layer + _LOGIT_COPIES * n_pos * anatomy.d_vocab


def _packed(anatomy: ModelAnatomy, n_rows: int, n_sources: int, n_pos: int) -> int:
    """Return the numbers that packed walks hold: folded attention, batches side by side."""
    d_model = anatomy.d_model
    heads, values = anatomy.n_heads * anatomy.d_head, anatomy.n_kv_heads * anatomy.d_head
    matrices = values + (heads if anatomy.norms_outputs else 0)
    folded = anatomy.n_layers * (d_model * matrices + anatomy.n_heads * n_pos**2)
    lifted = min(MOST_LIFTED / _FLOAT, d_model * n_pos**2)
    queue = min(n_rows, _MOST_QUEUE)
    places = min(queue * (n_pos + 1) / 2, BATCH_BYTES / _FLOAT / (d_model + 2 * heads))
    batch = places * (d_model + heads + values) + queue / 8 * n_sources
    batches = min(torch.get_num_threads(), 8) * batch
    return int(folded + lifted + batches + queue * n_sources)


def _kept(
    anatomy: ModelAnatomy,
    cards: Sequence[DictionaryCard],
    n_rows: int,
    n_sources: int,
    n_pos: int,
) -> int:
    """Return the bytes of a circuit in the making: the kept part of its rows, and its edges."""
    errors = n_pos * (2 + 2 * anatomy.n_layers)
    kept = min(n_rows + errors + 4 * anatomy.n_layers, n_sources)
    return int(n_rows * kept * (_FLOAT + _EDGE_BYTES / 4))


def operations(
    anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], settings: TraceSettings, n_pos: int
) -> float:
    """Return about how many operations the rows of a direct circuit or an attribution graph take.

    A row of an attribution graph walks through every layer below it: rows lie, on average, in the
    middle layer and at the middle position. One of a direct circuit reads every layer once.
    """
    n_sources = _n_sources(anatomy, cards, settings, n_pos)
    n_rows = n_sources if settings.max_nodes is None else min(settings.max_nodes, n_sources)
    heads = anatomy.n_heads * anatomy.d_head
    both = heads + anatomy.n_kv_heads * anatomy.d_head
    if settings.method != THROUGH:
        return n_rows * anatomy.n_layers * 2.0 * anatomy.d_model * both
    layer = 2 * anatomy.d_model * both * n_pos / 2 + heads * n_pos**2 / 3
    skip = 2 * anatomy.d_model**2 * n_pos / 2 if any(card.skip for card in cards) else 0
    return n_rows * (anatomy.n_layers / 2 * (layer + skip) + anatomy.d_model * n_sources / 2)


def run_operations(anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], n_pos: int) -> float:
    """Return about how many operations the forward pass and the dictionaries' encoders take."""
    model = anatomy.n_layers * _layer_weights(anatomy) + anatomy.d_model * anatomy.d_vocab
    encoders = sum(card.d_in * card.n_features * len(card.layers) for card in cards)
    return 2.0 * n_pos * (model + encoders)


def estimate_for(
    model: LoadedModel, dictionaries: Sequence[Dictionary], settings: TraceSettings, n_pos: int
) -> TraceMemory:
    """Return what a trace of a loaded model needs.

    Dictionaries in memory cost nothing more; on the CPU, most stay in their files, whose pages
    come and go.
    """
    used = used_cards(cards_of(dictionaries), settings)
    unread = getattr(dictionaries, "unread", ())
    if model.device.type == "cpu":
        unread = [card for card in unread if card.format in _READ_WHOLE]
    dtype = str(model.held).removeprefix("torch.")
    return estimate(model.anatomy, used, settings, n_pos, dtype=dtype, unread=unread)


def in_batches_of(settings: TraceSettings, size: int) -> TraceSettings:
    """Return settings that find the same circuit in batches of at most `size` rows.

    Under circuit-tracer's conventions the batch also says how many rows are chosen between two
    rankings, so the interval grows as the batch shrinks.
    """
    if settings.conventions != "circuit-tracer":
        return replace(settings, batch_size=size)
    chosen = settings.update_interval * (settings.batch_size or REFERENCE_BATCH)
    size = next(n for n in range(size, 0, -1) if chosen % n == 0)
    return replace(settings, batch_size=size, update_interval=chosen // size)


def check_memory(
    model: LoadedModel, dictionaries: Sequence[Dictionary], settings: TraceSettings, n_pos: int
) -> TraceMemory:
    """Refuse a trace that does not fit, before any of its work is done.

    Raises:
        OutOfMemory: It needs more than is free; the largest part and what to change are named.
    """
    needed = estimate_for(model, dictionaries, settings, n_pos)
    cpu = torch.device("cpu")
    parts = {
        "one layer in full precision": needed.weights,
        "dictionaries": needed.dictionaries,
        "activations": needed.activations,
    }
    if model.device.type == "cpu":
        _refuse_more(cpu, {**parts, "rows": needed.rows}, settings, n_pos)
    else:
        _refuse_more(model.device, parts, settings, n_pos)
        _refuse_more(cpu, {"rows": needed.rows}, settings, n_pos)
    return needed


def _refuse_more(
    device: torch.device, parts: Mapping[str, int], settings: TraceSettings, n_pos: int
) -> None:
    free, total = available_memory(device), sum(parts.values())
    if total <= free:
        return
    sizes = sorted(parts.items(), key=lambda part: -part[1])
    listed = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sizes if size)
    raise OutOfMemory(
        f"This trace needs about {total / 1e9:.2f} GB on {device} ({listed}), "
        f"but {free / 1e9:.2f} GB are free.",
        kept="Nothing has been changed.",
        hint=_what_to_change(sizes[0][0], parts, free, settings, n_pos),
    )


def _what_to_change(
    largest: str, parts: Mapping[str, int], free: int, settings: TraceSettings, n_pos: int
) -> str:
    if largest == "rows":
        room = max(0, free - sum(parts.values()) + parts["rows"])
        if settings.max_nodes is not None:
            fits = int(settings.max_nodes * room / parts["rows"]) // 16 * 16
            if fits >= 16:
                return f"Set a smaller node budget: {fits:,} nodes would fit."
        return "Set a smaller node budget, or shorten the prompt."
    if largest == "dictionaries":
        return "Use fewer or smaller dictionaries, or close other programs."
    if largest == "activations":
        return f"Shorten the prompt of {n_pos} tokens, or close other programs."
    return f"Load the model in {settings.dtype}, or close other programs."


def _n_sources(
    anatomy: ModelAnatomy,
    cards: Sequence[DictionaryCard],
    settings: TraceSettings,
    n_pos: int,
) -> int:
    """Return about how many columns the table of rows has."""
    attention = {
        layer for card in cards if card.write_site.writes is Site.ATTN_OUT for layer in card.layers
    }
    mlp = {
        layer for card in cards if card.write_site.writes is Site.MLP_OUT for layer in card.layers
    }
    per_position = 2 + sum((_active(card) + 1) * len(card.layers) for card in cards)
    bare_attention, bare_mlp = anatomy.n_layers - len(attention), anatomy.n_layers - len(mlp)
    if settings.method == THROUGH:
        bare_attention = 0
    if settings.units == "features":
        return int(n_pos * (per_position + bare_attention + bare_mlp))
    neurons = n_pos * bare_mlp * anatomy.d_mlp
    if settings.max_nodes is not None:
        neurons = min(neurons, max(_MOST_NEURONS, settings.max_nodes))
    return int(n_pos * (per_position + bare_attention * anatomy.n_heads) + neurons)


def _active(card: DictionaryCard) -> float:
    stated = card.k or card.metrics.get("l0") or card.metrics.get("mean_l0") or _USUAL_L0
    return min(float(stated), float(card.n_features))


def _later(card: DictionaryCard) -> float:
    """Return how many vectors a CLT's active features of a position write to later layers."""
    n_layers = len(card.layers)
    return _active(card) * n_layers * (n_layers - 1) / 2


def _weights_of(card: DictionaryCard) -> int:
    skip = card.d_in * card.d_out if card.skip else 0
    n_layers = len(card.layers)
    written = n_layers * (n_layers + 1) // 2
    read = n_layers * (card.d_in + 2)
    return card.n_features * (read + written * card.d_out) + skip


def _layer_weights(anatomy: ModelAnatomy) -> int:
    heads = 2 * anatomy.n_heads + 2 * anatomy.n_kv_heads
    attention = heads * anatomy.d_head * anatomy.d_model
    mlp = (3 if anatomy.gated_mlp else 2) * anatomy.d_mlp * anatomy.d_model
    return attention + mlp
