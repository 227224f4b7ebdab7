"""Where sources enter a decomposition and where its parts are read off.

A source set is a list of places; at each the relevant part is set (heads, MLPs, spans) or added to
(dictionary features). Sets are kept in the order in which they enter the layers, so that the exact
walk can let its batch grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from circuitscope.tracing.totals import Totals

WrittenPlace = Literal["residual", "attn_out", "mlp_out"]
_STAGES = {"residual": 0, "z": 1, "attn_out": 2, "mlp_out": 3}


class Stop(Exception):  # noqa: N818 - ends a walk, like StopIteration
    """Everything asked for has been read."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceSet:
    """The places of sources that are decomposed together; positions are absolute.

    Attributes:
        z: (layer, position, head) of heads.
        residual: (layer, position) of tokens as they enter a layer.
        mlp: (layer, position) of MLP outputs.
        vectors: (place, layer, position, vector) that features write.
    """

    z: tuple[tuple[int, int, int], ...] = ()
    residual: tuple[tuple[int, int], ...] = ()
    mlp: tuple[tuple[int, int], ...] = ()
    vectors: tuple[tuple[WrittenPlace, int, int, Tensor], ...] = ()

    def places(self) -> list[tuple[int, int, int]]:
        """Return (layer, stage within the layer, position) of everything."""
        return [
            *((layer, _STAGES["residual"], position) for layer, position in self.residual),
            *((layer, _STAGES["z"], position) for layer, position, _ in self.z),
            *((layer, _STAGES["mlp_out"], position) for layer, position in self.mlp),
            *((layer, _STAGES[place], position) for place, layer, position, _ in self.vectors),
        ]

    @property
    def only_spans(self) -> bool:
        """Return whether nothing but token spans is in the set."""
        return bool(self.residual) and not (self.z or self.mlp or self.vectors)

    @property
    def entry(self) -> tuple[int, int]:
        """Return layer and stage of the first source."""
        return min((layer, stage) for layer, stage, _ in self.places())

    @property
    def start(self) -> int:
        """Return the first position that can be relevant in a causal model."""
        return min(position for _, _, position in self.places())


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """Which sets and positions a tensor [set, pos, ...] holds.

    Attributes:
        rows: Sets, by their order in the injector.
        place: Index of each position of the prompt in the tensor, -1 where absent, int64 [pos].
        numbers: The sets' numbers in the caller's list, [set].
    """

    rows: slice
    place: Tensor
    numbers: tuple[int, ...] = ()


class Recorder(Protocol):
    """Hear of parts of activations while a walk passes them; may raise `Stop` after a layer."""

    def qkv(self, layer: int, parts: tuple[Tensor, Tensor, Tensor], at: Where) -> None:
        """Queries, keys, values with bias, before norm and rotation, [set, pos, head, d_head]."""

    def z(self, layer: int, z: Tensor, at: Where) -> None:
        """Head mixes, sources set, [set, pos, head, d_head]."""

    def residual(self, layer: int, mid: Tensor, at: Where) -> None:
        """The residual stream after attention, [set, pos, d_model]."""

    def mlp(self, layer: int, out: Tensor, at: Where) -> None:
        """What the MLP writes, sources set, [set, pos, d_model]."""

    def logits(self, logits: Tensor, at: Where) -> None:
        """Logits or labels, [set, pos, token], of the positions and tokens asked for."""


class Silent:
    """A recorder that keeps nothing; recorders override what they hear."""

    def qkv(self, layer: int, parts: tuple[Tensor, Tensor, Tensor], at: Where) -> None:
        """Ignore queries, keys and values."""

    def z(self, layer: int, z: Tensor, at: Where) -> None:
        """Ignore head mixes."""

    def residual(self, layer: int, mid: Tensor, at: Where) -> None:
        """Ignore the residual stream."""

    def mlp(self, layer: int, out: Tensor, at: Where) -> None:
        """Ignore the MLP."""

    def logits(self, logits: Tensor, at: Where) -> None:
        """Ignore logits."""


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Means as tensors: z [layer, pos, head, d_head], mlp [layer, pos, d_model]; None is zero."""

    z: Tensor | None = None
    mlp: Tensor | None = None


@dataclass(eq=False)
class Injector:
    """Set the relevant parts of sources, vectorised over sets.

    Attributes:
        sets: In the order of the walk's rows.
        means: What stays irrelevant at heads and MLPs.
    """

    sets: Sequence[SourceSet]
    totals: Totals
    means: Means = field(default_factory=Means)

    def __post_init__(self) -> None:
        self._z: dict[int, Tensor] = {}
        self._tokens: dict[int, Tensor] = {}
        self._mlp: dict[int, Tensor] = {}
        self._vectors: dict[tuple[WrittenPlace, int], list[tuple[int, int, Tensor]]] = {}
        found: dict[str, dict[int, list[tuple[int, ...]]]] = {"z": {}, "tokens": {}, "mlp": {}}
        for row, one in enumerate(self.sets):
            for layer, position, head in one.z:
                found["z"].setdefault(layer, []).append((row, position, head))
            for layer, position in one.residual:
                found["tokens"].setdefault(layer, []).append((row, position))
            for layer, position in one.mlp:
                found["mlp"].setdefault(layer, []).append((row, position))
            for place, layer, position, vector in one.vectors:
                self._vectors.setdefault((place, layer), []).append((row, position, vector))
        device = self.totals.embed.device
        for name, table in found.items():
            own = getattr(self, f"_{name}")
            for layer, rows in table.items():
                own[layer] = torch.tensor(rows, device=device).T

    def __len__(self) -> int:
        return len(self.sets)

    # `total` is the sum of both parts where a walk has its own, [set, pos, ...]; None: the totals'.

    def put_residual(self, layer: int, r: Tensor, at: Where, total: Tensor | None = None) -> None:
        """Make spans relevant as they enter a layer, in place."""
        if layer in self._tokens:
            row, place, position = self._here(self._tokens[layer], at)
            known = self.totals.layers[layer].pre
            r[row, place] = known[position] if total is None else total[row, place]
        self._add("residual", layer, r, at)

    def mark_residual(self, layer: int, pure: Tensor, at: Where) -> None:
        """Mark positions of spans as wholly relevant, bool [set, pos], in place."""
        if layer in self._tokens:
            row, place, _ = self._here(self._tokens[layer], at)
            only = torch.tensor([one.only_spans for one in self.sets], device=pure.device)
            own = only[row + at.rows.start]
            pure[row[own], place[own]] = True

    def put_z(self, layer: int, z: Tensor, at: Where, total: Tensor | None = None) -> None:
        """Set heads' relevant z, [set, pos, head, d_head], in place."""
        if layer in self._z:
            row, place, position, head = self._here(self._z[layer], at)
            known = self.totals.layers[layer].attention.z
            value = known[position, head] if total is None else total[row, place, head]
            if self.means.z is not None:
                value = value - self.means.z[layer, position, head]
            z[row, place, head] = value

    def put_attention(self, layer: int, r: Tensor, at: Where, total: Tensor | None = None) -> None:
        """Add what features of attention write, in place."""
        self._add("attn_out", layer, r, at)

    def put_mlp(self, layer: int, r: Tensor, at: Where, total: Tensor | None = None) -> None:
        """Set MLPs' relevant outputs and add what features write, in place."""
        if layer in self._mlp:
            row, place, position = self._here(self._mlp[layer], at)
            known = self.totals.layers[layer].mlp.out.after
            value = known[position] if total is None else total[row, place]
            if self.means.mlp is not None:
                value = value - self.means.mlp[layer, position]
            r[row, place] = value
        self._add("mlp_out", layer, r, at)

    def _add(self, place: WrittenPlace, layer: int, r: Tensor, at: Where) -> None:
        for row, position, vector in self._vectors.get((place, layer), ()):
            spot = int(at.place[position])
            if at.rows.start <= row < at.rows.stop and spot >= 0:
                r[row - at.rows.start, spot] += vector

    def _here(self, table: Tensor, at: Where) -> list[Tensor]:
        """Return row and place in the tensor, then the columns from position on, of what is in."""
        row, position = table[0], table[1]
        place = at.place[position]
        inside = (row >= at.rows.start) & (row < at.rows.stop) & (place >= 0)
        return [row[inside] - at.rows.start, place[inside], *(part[inside] for part in table[1:])]


class Numbered:
    """Pass rows on under the caller's numbers."""

    def __init__(self, recorder: Recorder, order: list[int]) -> None:
        self._recorder = recorder
        self._order = order

    def _at(self, at: Where) -> Where:
        return Where(at.rows, at.place, tuple(self._order[at.rows]))

    def qkv(self, layer: int, parts: tuple[Tensor, Tensor, Tensor], at: Where) -> None:
        """Pass on queries, keys and values."""
        self._recorder.qkv(layer, parts, self._at(at))

    def z(self, layer: int, z: Tensor, at: Where) -> None:
        """Pass on head mixes."""
        self._recorder.z(layer, z, self._at(at))

    def residual(self, layer: int, mid: Tensor, at: Where) -> None:
        """Pass on the residual stream."""
        self._recorder.residual(layer, mid, self._at(at))

    def mlp(self, layer: int, out: Tensor, at: Where) -> None:
        """Pass on the MLP's output."""
        self._recorder.mlp(layer, out, self._at(at))

    def logits(self, logits: Tensor, at: Where) -> None:
        """Pass on logits."""
        self._recorder.logits(logits, self._at(at))
