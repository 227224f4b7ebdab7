"""What each stage wrote, gathered by position so that packed rows read it in one product each.

The embeddings are what the lowest passing attention moves last. Instead of pulling every row
through it, `lifted` pushes them up once: the same sums, their brackets set the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuitscope.models.folded import FoldedAttention
from circuitscope.tracing.sources import Group, Stage

_SAME = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one stage wrote at one position.

    Attributes:
        parts: Columns and their vectors: its own first, then what earlier writers add here.
        shared: Columns of constants, and `constants` their vectors; None where there are none.
    """

    position: int
    parts: tuple[tuple[slice, Tensor], ...]
    shared: Tensor | None = None
    constants: Tensor | None = None


class StageReadings:
    """What one stage wrote, gathered by position.

    Attributes:
        at: Readings, one for each position.
        constants: What is written at all positions alike, [d_model, constant], by column.
    """

    def __init__(self, stage: Stage) -> None:
        own, later = _by_position(stage.groups), _by_position(stage.additions)
        even, shared = _constants(stage)
        positions = sorted({*own, *shared, *later})
        self.at = [
            _reading(p, own.get(p, []), later.get(p, []), shared.get(p, {})) for p in positions
        ]
        self.constant_columns = list(even)
        self.constants = torch.stack(list(even.values()), dim=1) if even else None


def _by_position(groups: Sequence[Group]) -> dict[int, list[tuple[slice, Tensor]]]:
    found: dict[int, list[tuple[slice, Tensor]]] = {}
    for group in groups:
        if group.columns.stop > group.columns.start:
            found.setdefault(group.position, []).append((group.columns, group.vectors))
    return found


def _constants(stage: Stage) -> tuple[dict[int, Tensor], dict[int, dict[int, Tensor]]]:
    """Return constants that are the same at all positions, by column, and others by position."""
    even: dict[int, Tensor] = {}
    shared: dict[int, dict[int, Tensor]] = {}
    for column, vectors in stage.constants:
        if vectors.dim() == 1:
            _add(even, column, vectors)
        elif bool((vectors - vectors[0]).abs().max() <= _SAME * vectors.abs().max()):
            _add(even, column, vectors.mean(0))
        else:
            for position in vectors.any(-1).nonzero()[:, 0].tolist():
                _add(shared.setdefault(position, {}), column, vectors[position])
    return even, shared


def lifted(stage: Stage, attention: FoldedAttention, n_pos: int) -> Stage:
    """Return what a stage wrote as it stands above an attention: there, and moved by it.

    Args:
        stage: Writes below the attention; nothing but the attention passes it on.
        attention: Reads it.
        n_pos: Positions of the prompt.
    """
    found = Stage()
    for group in stage.groups:
        moved = attention.push(group.vectors, group.position, n_pos)
        moved[0] += group.vectors
        found.groups += [
            Group(group.position + step, group.columns, vectors)
            for step, vectors in enumerate(moved)
        ]
    for column, constant in stage.constants:
        whole = constant.expand(n_pos, -1)
        total = whole.clone()
        for position, vector in enumerate(whole):
            total[position:] += attention.push(vector[None], position, n_pos)[:, 0]
        found.constants.append((column, total))
    return found


def _add(into: dict[int, Tensor], column: int, vector: Tensor) -> None:
    into[column] = into[column] + vector if column in into else vector


def _reading(
    position: int,
    own: Sequence[tuple[slice, Tensor]],
    later: Sequence[tuple[slice, Tensor]],
    constants: dict[int, Tensor],
) -> Reading:
    """Gather what lies at one position; its own neighbouring columns become one slice."""
    parts = list(later)
    if own:
        span = slice(own[0][0].start, own[-1][0].stop)
        size = sum(columns.stop - columns.start for columns, _ in own)
        assert span.stop - span.start == size, "columns of a position lie together"
        parts.insert(0, (span, _joined([vectors for _, vectors in own])))
    if not constants:
        return Reading(position, tuple(parts))
    vectors = torch.stack(list(constants.values()))
    columns = torch.tensor(list(constants), device=vectors.device)
    return Reading(position, tuple(parts), columns, vectors)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Return parts [n, d_model] one after the other; no copy where they lie so in memory."""
    first, end = parts[0], parts[0].data_ptr()
    for part in parts:
        lies_so = part.is_contiguous() and part.data_ptr() == end
        if not lies_so or part.untyped_storage().data_ptr() != first.untyped_storage().data_ptr():
            return torch.cat(list(parts))
        end += part.numel() * part.element_size()
    return first.as_strided((sum(len(part) for part in parts), first.shape[1]), first.stride())
