"""Turn interventions into changes of tensors: checked, and with what they write fetched, first.

1. Every place, head, unit and position is checked before anything runs.
2. What other prompts have (swap) and means are read, one run for each prompt.
3. Changes are registered in the order given. Features of a dictionary are encoded once, where
   the first of them acts; each change is then (new - old activation) times its decoder row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.core.intervention import MODES, Intervention
from circuitscope.models.hooks import Hooks
from circuitscope.models.places import (
    EDITABLE,
    WHOLE,
    Place,
    change_rows,
    has_site,
    n_heads,
    read_rows,
    read_run,
)
from circuitscope.models.prompts import read_prompt

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Rule = Callable[[Tensor, Tensor], Tensor]
"""Gets old rows [batch, n, ...] and their absolute positions [n]; returns the new."""


@dataclass(slots=True, eq=False)
class _Reading:
    """One dictionary's activations in the pass that runs now.

    Attributes:
        values: [batch, pos, feature]; scale: what its input was divided by, [batch, pos].
    """

    dictionary: Any
    values: Tensor = field(default_factory=lambda: torch.empty(0))
    scale: Tensor = field(default_factory=lambda: torch.empty(0))

    def hear(self, rows: Tensor) -> None:
        self.values = _activations(self.dictionary, rows)
        flat = rows.flatten(0, 1).flatten(1)
        self.scale = self.dictionary.scale(flat).view(rows.shape[:2])


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """A checked intervention: where it acts, and what it makes of the rows it selects."""

    place: Place
    head: int | None
    units: Tensor | None
    positions: tuple[int, ...] | None
    rule: Rule
    reading: _Reading | None = None
    feature: int = -1
    row: Tensor | None = None
    """What the feature writes here per unit of activation."""


def plan(
    model: LoadedModel,
    interventions: Sequence[Intervention],
    token_ids: Sequence[int],
    n_new: int = 0,
) -> list[Edit]:
    """Check every intervention and fetch what it writes, before the run it changes.

    Args:
        model: The model.
        interventions: In the order in which they act.
        token_ids: The prompt.
        n_new: Tokens that may follow it, whose positions may be named.

    Raises:
        ModelError: One of them names a place that does not exist, or a value that does not fit.
    """
    # Two interventions may hold one dictionary; it is encoded once.
    readings: dict[tuple[int, int], _Reading] = {}
    for wish in interventions:
        _check(model, wish, len(token_ids))
        if wish.dictionary is not None:
            part = wish.dictionary.layer(wish.layer)
            readings.setdefault((id(wish.dictionary), wish.layer), _Reading(part))
    sources = _sources(model, interventions, token_ids)
    edits = []
    for wish, source in zip(interventions, sources, strict=True):
        positions = _positions(wish, len(token_ids), n_new)
        if wish.mode == "swap" and positions is None:
            # What another prompt has at new tokens is not known.
            positions = tuple(range(len(token_ids)))
        rule = _rule(model, wish, source, positions)
        units = None if wish.units is None else torch.tensor(list(wish.units), device=model.device)
        edit = Edit(_place(wish), wish.head, units, positions, rule)
        reading = readings.get((id(wish.dictionary), wish.layer))
        edits += [edit] if reading is None else _feature_edits(edit, wish.feature or 0, reading)
    return edits


def _feature_edits(edit: Edit, feature: int, reading: _Reading) -> list[Edit]:
    """Return a feature's change in every layer that it writes to; of a CLT these are several."""
    part, unit = reading.dictionary, torch.tensor([feature])
    return [
        replace(
            edit, place=(edit.place[0], layer), reading=reading, feature=feature,
            row=part.decoder_rows(unit, layer)[0],
        )
        for layer in part.written_layers
    ]  # fmt: skip


def install(model: LoadedModel, hooks: Hooks, edits: Sequence[Edit], start: int = 0) -> None:
    """Register edits for one forward pass whose first row has the position `start`."""
    late: list[tuple[Place, _Reading]] = []
    heard: set[int] = set()
    for edit in edits:
        if edit.reading is not None and id(edit.reading) not in heard:
            heard.add(id(edit.reading))
            seen = _read_place(edit.reading.dictionary)
            if seen == edit.place:
                read_rows(model, hooks, seen, edit.reading.hear)
            else:
                late.append((seen, edit.reading))
        change_rows(model, hooks, edit.place, _change(edit, start))
    for seen, reading in late:
        # After all edits, so that a transcoder reads what its MLP reads.
        read_rows(model, hooks, seen, reading.hear)


def _change(edit: Edit, begin: int) -> Callable[[Tensor], None]:
    def change(view: Tensor) -> None:
        end = begin + view.shape[1]
        absolute = range(begin, end) if edit.positions is None else edit.positions
        at = torch.tensor([p for p in absolute if begin <= p < end], device=view.device)
        if not len(at):
            return
        rows = view[:, at - begin]
        if edit.reading is not None:
            old = edit.reading.values[:, at - begin, edit.feature, None]
            assert edit.row is not None, "a feature writes a row"
            more = (edit.rule(old, at) - old) * edit.reading.scale[:, at - begin, None].to(old)
            step = more * edit.row.to(old)
            view[:, at - begin] = rows + step.view(rows.shape).to(rows.dtype)
            return
        picked = rows if edit.head is None else rows[:, :, edit.head]
        some = picked if edit.units is None else picked[..., edit.units]
        changed = edit.rule(some, at)
        if edit.units is not None:
            picked[..., edit.units] = changed
            changed = picked
        if edit.head is None:
            view[:, at - begin] = changed
        else:
            view[:, at - begin, edit.head] = changed

    return change


# What is written


def _sources(
    model: LoadedModel, interventions: Sequence[Intervention], token_ids: Sequence[int]
) -> list[Tensor | None]:
    """Return for swaps and for means without a value what the other run has, [pos, ...]."""
    wanted: dict[tuple[int, ...], list[Place]] = {}
    asks: list[tuple[tuple[int, ...], Place] | None] = []
    for wish in interventions:
        ids: tuple[int, ...] | None = None
        if wish.mode == "swap":
            ids = tuple(read_prompt(model, wish.value).token_ids)
        elif wish.mode == "mean" and wish.value is None:
            ids = tuple(token_ids)
        if ids is None:
            asks.append(None)
            continue
        part = wish.dictionary and wish.dictionary.layer(wish.layer)
        place = _place(wish) if part is None else _read_place(part)
        wanted.setdefault(ids, []).append(place)
        asks.append((ids, place))
    runs = {ids: read_run(model, ids, places) for ids, places in wanted.items()}
    return [
        None if ask is None else _picked(wish, runs[ask[0]][ask[1]])
        for wish, ask in zip(interventions, asks, strict=True)
    ]


def _picked(wish: Intervention, rows: Tensor) -> Tensor:
    """Return the entries that an intervention changes, of all rows [pos, ...]."""
    if wish.dictionary is not None:
        values = _activations(wish.dictionary.layer(wish.layer), rows[None])
        return values[0, :, wish.feature, None]
    picked = rows if wish.head is None else rows[:, wish.head]
    return picked if wish.units is None else picked[..., list(wish.units)]


def _activations(dictionary: Any, rows: Tensor) -> Tensor:
    """Return the activations [batch, pos, feature] of rows [batch, pos, ...]."""
    flat = rows.flatten(0, 1).flatten(1)
    found: Tensor = dictionary.activate(dictionary.preactivations(flat))
    return found.view(*rows.shape[:2], -1)


def _rule(
    model: LoadedModel,
    wish: Intervention,
    source: Tensor | None,
    positions: tuple[int, ...] | None,
) -> Rule:
    if wish.mode == "zero":
        return lambda old, at: torch.zeros_like(old)
    if wish.mode == "swap":
        assert source is not None, "a swap has another run"
        return _swap(source, positions or ())
    exact = model.dtype if wish.dictionary is None else torch.float32
    value = torch.as_tensor(np.asarray(wish.value)) if source is None else source.mean(0)
    value = value.to(model.device, exact)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "set": lambda old: value.to(old.dtype).expand_as(old),
        "mean": lambda old: value.to(old.dtype).expand_as(old),
        "add": lambda old: old + value.expand_as(old),
        "scale": lambda old: old * value.expand_as(old),
    }

    def checked(old: Tensor, at: Tensor) -> Tensor:
        try:
            return changes[wish.mode](old)
        except RuntimeError as error:
            raise ModelError(
                f"The intervention's value has the shape {tuple(value.shape)}, "
                f"but {Site.parse(wish.site).text} has {tuple(old.shape[1:])} there.",
                hint="Give a number or an array of that shape.",
            ) from error

    return checked


def _swap(rows: Tensor, positions: tuple[int, ...]) -> Rule:
    """Write what another prompt has at the same positions."""
    last = max(positions, default=-1)
    if last >= len(rows):
        raise ModelError(
            f"The prompt to swap from has {len(rows)} tokens, so it has no position {last}.",
            hint="Swap between prompts of equal length, or name positions that both have.",
        )

    def swap(old: Tensor, at: Tensor) -> Tensor:
        new = rows[at]
        if new.shape[1:] != old.shape[2:]:
            raise ModelError(
                f"The pattern to swap from reaches over {new.shape[-1]} keys, not {old.shape[-1]}.",
                hint="Swap patterns between prompts of equal length.",
            )
        return new.to(old.dtype).expand_as(old)

    return swap


# Places

_WHERE = {Site.MLP_TRANSCODER: Site.MLP_OUT}
"""Sites of features alone, and where they write."""


def _place(wish: Intervention) -> Place:
    site = Site.parse(wish.site)
    if wish.dictionary is not None:
        return wish.dictionary.card.write_site, wish.layer
    return _WHERE.get(site, site), 0 if site in WHOLE else wish.layer


def _read_place(dictionary: Any) -> Place:
    """Return where a dictionary of one layer, or a CLT's part of one, reads."""
    return dictionary.card.read_site, dictionary.card.layers[0]


def _positions(wish: Intervention, n_pos: int, n_new: int) -> tuple[int, ...] | None:
    if wish.positions is None:
        return None
    outside = [p for p in wish.positions if not -n_pos <= p < n_pos + n_new]
    if outside:
        and_new = f" and at most {n_new} new ones" if n_new else ""
        raise ModelError(
            f"The intervention names position {outside[0]}, but the prompt has "
            f"{n_pos} tokens{and_new}.",
            hint=f"Positions go from 0 to {n_pos + n_new - 1}; -1 is the last of the prompt.",
        )
    return tuple(p + n_pos if p < 0 else p for p in wish.positions)


def _check(model: LoadedModel, wish: Intervention, n_pos: int) -> None:
    site, anatomy = Site.parse(wish.site), model.anatomy
    if not has_site(model, site.writes):
        names = ", ".join(s.text for s in EDITABLE if has_site(model, s))
        raise ModelError(
            f"An intervention cannot act on {site.text} in {anatomy.name}.",
            hint=f"Sites are: {names}.",
        )
    if site not in WHOLE and not 0 <= wish.layer < anatomy.n_layers:
        raise ModelError(
            f"There is no layer {wish.layer}: {anatomy.name} has {anatomy.n_layers}.",
            hint=f"Layers go from 0 to {anatomy.n_layers - 1}.",
        )
    heads = n_heads(model, site)
    if wish.head is not None and not 0 <= wish.head < heads:
        places = f"0 to {heads - 1} at {site.text}" if heads else "at head_z, head_q, pattern, …"
        raise ModelError(
            f"There is no head {wish.head} at {site.text} in {anatomy.name}.",
            hint=f"Heads go from {places}." if heads else f"Heads are found {places}",
        )
    width = _width(model, site, n_pos)
    if wish.units is not None and any(not 0 <= unit < width for unit in wish.units):
        raise ModelError(
            f"The intervention names units that {site.text} does not have.",
            hint=f"Units go from 0 to {width - 1}.",
        )
    _check_mode(wish)
    if wish.dictionary is not None or wish.feature is not None:
        _check_feature(model, wish, site)


def _check_mode(wish: Intervention) -> None:
    if wish.mode not in MODES:
        raise ModelError(
            f"There is no mode {wish.mode!r} of intervention.",
            hint=f"Modes are: {', '.join(MODES)}.",
        )
    if wish.value is None and wish.mode not in ("zero", "mean"):
        raise ModelError(
            f"An intervention of the mode {wish.mode!r} needs a value.",
            hint="Give a number, an array, or for swap another prompt.",
        )


def _check_feature(model: LoadedModel, wish: Intervention, site: Site) -> None:
    if wish.dictionary is None or wish.feature is None:
        raise ModelError(
            "A change of a feature needs both the feature and its dictionary.",
            hint="Give feature=… and dictionary=…, one of load_dictionaries.",
        )
    card = wish.dictionary.card
    if wish.head is not None or wish.units is not None:
        raise ModelError(
            "A feature has no heads and no units of its own.", hint="Leave both out, or feature."
        )
    if site.writes is not card.write_site.writes or wish.layer not in card.layers:
        layers = ", ".join(map(str, card.layers))
        raise ModelError(
            f"The dictionary {card.name} writes {card.write_site.text} of layer {layers}, not "
            f"{site.text} of layer {wish.layer}.",
            hint="Name the site and the layer of the dictionary.",
        )
    anatomy = model.anatomy
    width = anatomy.n_heads * anatomy.d_head if site is Site.HEAD_Z else anatomy.d_model
    if card.d_out != width:
        raise ModelError(
            f"The dictionary {card.name} writes vectors of width {card.d_out}, but "
            f"{anatomy.name} has {width}.",
            hint="Choose a dictionary that was trained on this model.",
        )
    if not 0 <= wish.feature < card.n_features:
        raise ModelError(
            f"The dictionary {card.name} has no feature {wish.feature}.",
            hint=f"Features go from 0 to {card.n_features - 1}.",
        )


def _width(model: LoadedModel, site: Site, n_pos: int) -> int:
    anatomy = model.anatomy
    if site is Site.PATTERN:
        return n_pos
    if n_heads(model, site):
        return anatomy.d_head
    return anatomy.d_mlp if site is Site.MLP_HIDDEN else anatomy.d_model
