"""Run many changed copies of one prompt, sharing what no change can touch.

1. The prompt is run once, plainly.
2. A change in layer L leaves everything below it as it was, so the real module starts there: its
   blocks below L return what they returned, for every copy at once.
3. From there on each copy runs with its own change; the module computes everything that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.models.capture import ForwardCache, capture
from circuitscope.models.family import Part, part_module
from circuitscope.models.hooks import Editor, Hooks
from circuitscope.models.places import WHOLE, Change, Place, change_rows, read_rows

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

OUTPUT = (Site.LOGITS, -1)
"""The module's own logits, after any soft cap; (LOGITS, 0) is before it."""
_MOST_NUMBERS = 60_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A prompt's plain run, in which changed copies can begin at any layer.

    Attributes:
        returns_tuple: Whether the module's blocks return a tuple.
    """

    model: LoadedModel
    cache: ForwardCache
    returns_tuple: bool

    @property
    def most_copies(self) -> int:
        """Return how many copies fit one batch."""
        anatomy = self.model.anatomy
        width = max(anatomy.d_vocab, 8 * anatomy.d_model, 2 * anatomy.d_mlp)
        return max(1, _MOST_NUMBERS // (self.cache.n_pos * width))


def open_stream(model: LoadedModel, token_ids: Sequence[int]) -> Stream:
    """Run a prompt plainly and keep what copies start from."""
    seen: list[bool] = []

    def look(_: Any, args: Any, output: Any) -> None:
        seen.append(isinstance(output, tuple))

    handle = part_module(model.family, model.module, Part.BLOCK, 0).register_forward_hook(look)
    try:
        cache = capture(model, token_ids)
    finally:
        handle.remove()
    return Stream(model, cache, seen[0])


def rerun(
    stream: Stream,
    changes: Mapping[Place, Change],
    read: Sequence[Place],
    copies: int,
    prepare: Callable[[Hooks], None] | None = None,
) -> dict[Place, Tensor]:
    """Run copies of the prompt, each with its own change.

    Args:
        stream: The plain run.
        changes: By place; each changes rows [copy, pos, ...] in place.
        read: Places whose rows are returned, changes included.
        copies: Number of copies.
        prepare: Registers further hooks, none below the lowest change.

    Returns:
        Rows of each place, [copy, pos, ...], in the model's dtype.
    """
    found: dict[Place, Tensor] = {}

    def keep(place: Place) -> Callable[[Tensor], None]:
        return lambda rows: found.update({place: rows.detach().clone()})

    first = min((-1 if site in WHOLE else layer for site, layer in changes), default=0)
    model = stream.model
    with torch.no_grad(), _passing(stream, first), Hooks(model) as hooks:
        for place, change in changes.items():
            if place[0] is Site.POS_EMBED:
                hooks.edit_site(*place, _for_each(change, copies))
            else:
                change_rows(model, hooks, place, change)
        if prepare is not None:
            prepare(hooks)
        for place in read:
            if place != OUTPUT:
                read_rows(model, hooks, place, keep(place))
        logits = hooks.forward(stream.cache.token_ids.expand(copies, -1))
    if OUTPUT in read:
        found[OUTPUT] = logits
    return found


def _for_each(change: Change, copies: int) -> Editor:
    """Return an editor of learned positions, which the module computes once for all copies."""

    def edit(rows: Tensor) -> Tensor:
        every = rows.expand(copies, *rows.shape[1:]).clone()
        change(every)
        return every

    return edit


@contextmanager
def _passing(stream: Stream, first: int) -> Iterator[None]:
    """Let the blocks below a layer return what they returned in the plain run."""
    model = stream.model
    blocks = [
        part_module(model.family, model.module, Part.BLOCK, layer) for layer in range(max(first, 0))
    ]
    if not blocks:
        yield
        return
    start = stream.cache.site(Site.RESID_PRE, first).to(model.dtype)

    def through(hidden: Tensor, *_: Any, **__: Any) -> Any:
        return (hidden,) if stream.returns_tuple else hidden

    def begin(hidden: Tensor, *_: Any, **__: Any) -> Any:
        rows = start.expand(len(hidden), -1, -1).contiguous()
        return (rows,) if stream.returns_tuple else rows

    try:
        for block in blocks:
            block.forward = through
        blocks[-1].forward = begin
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)
