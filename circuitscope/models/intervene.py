"""Run the model with changes at chosen sites, and generate from it.

Changes are hooks on the real Hugging Face module; what they do equals a plain forward hook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.core.intervention import Intervention
from circuitscope.core.progress import Progress, silent
from circuitscope.models.capture import ForwardCache, capture, exact
from circuitscope.models.family import SITE_PLACES, split_last
from circuitscope.models.hooks import Editor, Hooks
from circuitscope.models.prompts import Written, read_prompt, token_texts

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

EDITABLE = (
    Site.EMBED, Site.POS_EMBED, Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST, Site.ATTN_IN,
    Site.HEAD_Z, Site.ATTN_OUT, Site.MLP_IN, Site.MLP_HIDDEN, Site.MLP_OUT,
)  # fmt: skip
"""Sites where an intervention may act."""


@dataclass(frozen=True, eq=False)
class ModelRun:
    """One forward pass, in numpy.

    Attributes:
        token_ids: The prompt.
        tokens: Display text of each token.
        logits: float32 [pos, d_vocab].
        cache: Everything captured, as torch tensors.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    logits: NDArray[np.float32]
    cache: ForwardCache = field(repr=False)

    def pattern(self, layer: int) -> NDArray[np.float32]:
        """Return attention probabilities, [head, query, key]."""
        return self.site(Site.PATTERN, layer)

    def site(self, site: Site | str, layer: int = 0) -> NDArray[np.float32]:
        """Return what passed a site, [pos, ...], the changes included."""
        return _numpy(self.cache.site(site, layer))


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that might have come at one generated position.

    Attributes:
        probability: Of the full softmax at temperature 1.
    """

    token_id: int
    text: str
    probability: float
    logit: float


@dataclass(frozen=True, slots=True)
class Generation:
    """A continued prompt.

    Attributes:
        prompt_ids: The prompt; token_ids: prompt and new tokens; tokens: display text of all.
        alternatives: For each new token the likeliest tokens in its place, best first.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    alternatives: tuple[tuple[Alternative, ...], ...]

    @property
    def new_ids(self) -> tuple[int, ...]:
        """Return the ids of the new tokens."""
        return self.token_ids[len(self.prompt_ids) :]


def run(
    model: LoadedModel, prompt: Written, interventions: Sequence[Intervention] = ()
) -> ModelRun:
    """Run a prompt once.

    Args:
        model: The model.
        prompt: Text, or ids used exactly as given.
        interventions: Applied in order.

    Raises:
        PromptError: The prompt cannot be run.
        ModelError: An intervention names a place that does not exist, or a value that does not fit.
    """
    read = read_prompt(model, prompt)
    edits = _plan(model, interventions, len(read.token_ids))
    cache = capture(model, read.token_ids, lambda hooks: _install(hooks, edits, lambda: 0))
    return ModelRun(read.token_ids, read.tokens, _numpy(cache.logits), cache)


def generate(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    prompt: Written,
    n_tokens: int = 20,
    interventions: Sequence[Intervention] = (),
    *,
    seed: int = 0,
    temperature: float = 0.0,
    n_alternatives: int = 5,
    progress: Progress | None = None,
) -> Generation:
    """Continue a prompt until n_tokens, an end-of-text token or the end of the context.

    Args:
        model: The model.
        prompt: Text, or ids used exactly as given.
        n_tokens: Most new tokens.
        interventions: Without positions they act on new tokens too.
        seed: Seeds sampling.
        temperature: 0 takes the likeliest token each time.
        n_alternatives: Tokens listed for each new position.
        progress: Hears each token; may cancel between two.
    """
    from transformers import DynamicCache

    hear = progress or silent()
    read = read_prompt(model, prompt)
    ids = list(read.token_ids)
    edits = _plan(model, interventions, len(ids))
    stops = _end_tokens(model)
    source = torch.Generator().manual_seed(seed)
    past, seen = DynamicCache(), 0
    listed: list[tuple[Alternative, ...]] = []
    hear.phase("Generating", n_tokens)
    with Hooks(model) as hooks:
        _install(hooks, edits, lambda: seen)
        while len(listed) < n_tokens and len(ids) < model.anatomy.n_ctx:
            logits = exact(hooks.forward([ids[seen:]], past)[0, -1]).cpu()
            seen = len(ids)
            listed.append(_alternatives(model, logits, n_alternatives))
            ids.append(_choose(logits, temperature, source))
            hear.advance()
            if ids[-1] in stops:
                break
    return Generation(read.token_ids, tuple(ids), token_texts(model, ids), tuple(listed))


def _choose(logits: Tensor, temperature: float, source: torch.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    chances = torch.softmax(logits.double() / temperature, -1)
    return int(torch.multinomial(chances, 1, generator=source))


def _alternatives(model: LoadedModel, logits: Tensor, n: int) -> tuple[Alternative, ...]:
    chances = torch.softmax(logits.double(), -1)
    best = torch.topk(logits, min(n, len(logits))).indices.tolist()
    return tuple(
        Alternative(i, text, float(chances[i]), float(logits[i]))
        for i, text in zip(best, token_texts(model, best), strict=True)
    )


def _end_tokens(model: LoadedModel) -> set[int]:
    settings: Any = getattr(model.module, "generation_config", None)
    ends = getattr(settings, "eos_token_id", None)
    if ends is None:
        ends = getattr(model.module.config, "eos_token_id", None)
    return set(ends) if isinstance(ends, list) else set() if ends is None else {int(ends)}


# Interventions as edits of tensors


@dataclass(frozen=True, slots=True)
class _Edit:
    """A checked intervention: where it acts, and what it makes of the rows it selects."""

    site: Site
    layer: int
    head: int | None
    units: Tensor | None
    positions: tuple[int, ...] | None
    change: Callable[[Tensor, Tensor], Tensor]
    """Gets the old rows [batch, n, ...] and their absolute positions [n]; returns the new."""


def _plan(model: LoadedModel, interventions: Sequence[Intervention], n_pos: int) -> list[_Edit]:
    """Check every intervention and fetch what it writes, before the run it changes."""
    return [_plan_one(model, intervention, n_pos) for intervention in interventions]


def _plan_one(model: LoadedModel, wish: Intervention, n_pos: int) -> _Edit:
    site = Site.parse(wish.site)
    _check_place(model, wish, site)
    layer = 0 if site in (Site.EMBED, Site.POS_EMBED) else wish.layer
    positions = None
    if wish.positions is not None:
        outside = [p for p in wish.positions if not -n_pos <= p < n_pos]
        if outside:
            raise ModelError(
                f"The intervention names position {outside[0]}, but the prompt has {n_pos} tokens.",
                hint=f"Positions go from 0 to {n_pos - 1}; -1 is the last.",
            )
        positions = tuple(p % n_pos for p in wish.positions)
    units = None if wish.units is None else torch.tensor(list(wish.units), device=model.device)
    return _Edit(site, layer, wish.head, units, positions, _change(model, wish, site, layer))


def _check_place(model: LoadedModel, wish: Intervention, site: Site) -> None:
    anatomy = model.anatomy
    if site not in EDITABLE or SITE_PLACES[site][0] not in model.family.parts:
        names = ", ".join(s.text for s in EDITABLE if SITE_PLACES[s][0] in model.family.parts)
        raise ModelError(
            f"An intervention cannot act on {site.text} in {anatomy.name}.",
            hint=f"Sites are: {names}.",
        )
    if site not in (Site.EMBED, Site.POS_EMBED) and not 0 <= wish.layer < anatomy.n_layers:
        raise ModelError(
            f"There is no layer {wish.layer}: {anatomy.name} has {anatomy.n_layers}.",
            hint=f"Layers go from 0 to {anatomy.n_layers - 1}.",
        )
    if wish.head is not None and (site is not Site.HEAD_Z or not 0 <= wish.head < anatomy.n_heads):
        raise ModelError(
            f"There is no head {wish.head} at {site.text} in {anatomy.name}.",
            hint=f"Heads go from 0 to {anatomy.n_heads - 1}, at the site head_z.",
        )
    width = _width(model, site)
    if wish.units is not None and any(not 0 <= unit < width for unit in wish.units):
        raise ModelError(
            f"The intervention names units that {site.text} does not have.",
            hint=f"Units go from 0 to {width - 1}.",
        )


def _width(model: LoadedModel, site: Site) -> int:
    anatomy = model.anatomy
    if site is Site.HEAD_Z:
        return anatomy.d_head
    return anatomy.d_mlp if site is Site.MLP_HIDDEN else anatomy.d_model


def _change(
    model: LoadedModel, wish: Intervention, site: Site, layer: int
) -> Callable[[Tensor, Tensor], Tensor]:
    if wish.mode == "zero":
        return lambda old, at: torch.zeros_like(old)
    if wish.value is None:
        raise ModelError(
            f"An intervention of the mode {wish.mode!r} needs a value.",
            hint="Give a number, an array, or for swap another prompt.",
        )
    if wish.mode == "swap":
        return _swap(model, wish, site, layer)
    value = torch.as_tensor(np.asarray(wish.value)).to(model.device, model.dtype)
    changes: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "set": lambda old, at: value.expand_as(old),
        "mean": lambda old, at: value.expand_as(old),
        "add": lambda old, at: old + value.expand_as(old),
        "scale": lambda old, at: old * value.expand_as(old),
    }
    if wish.mode not in changes:
        raise ModelError(
            f"There is no mode {wish.mode!r} of intervention.",
            hint="Modes are: zero, mean, set, add, scale, swap.",
        )

    def checked(old: Tensor, at: Tensor) -> Tensor:
        try:
            return changes[wish.mode](old, at)
        except RuntimeError as error:
            raise ModelError(
                f"The intervention's value has the shape {tuple(value.shape)}, "
                f"but {site.text} has {tuple(old.shape[1:])} there.",
                hint="Give a number or an array of that shape.",
            ) from error

    return checked


def _swap(
    model: LoadedModel, wish: Intervention, site: Site, layer: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """Write what another prompt has at the same positions."""
    other = capture(model, read_prompt(model, wish.value).token_ids)
    there = other.site(site, layer).to(model.dtype)
    rows = there if wish.head is None else there[:, wish.head]
    rows = rows if wish.units is None else rows[..., list(wish.units)]

    def swap(old: Tensor, at: Tensor) -> Tensor:
        if len(at) and int(at.max()) >= len(rows):
            raise ModelError(
                f"The prompt to swap from has {len(rows)} tokens, so it has no position "
                f"{int(at.max())}.",
                hint="Swap between prompts of equal length, or name positions that both have.",
            )
        return rows[at].expand_as(old)

    return swap


def _install(hooks: Hooks, edits: Sequence[_Edit], start: Callable[[], int]) -> None:
    """Register edits; `start` tells the absolute position of the first row in a forward pass."""
    for edit in edits:
        hooks.edit_site(edit.site, edit.layer, _editor(hooks, edit, start))


def _editor(hooks: Hooks, edit: _Edit, start: Callable[[], int]) -> Editor:
    def change(tensor: Tensor) -> Tensor:
        begin, n = start(), tensor.shape[1]
        absolute = range(begin, begin + n) if edit.positions is None else edit.positions
        at = torch.tensor([p for p in absolute if begin <= p < begin + n], device=tensor.device)
        if not len(at):
            return tensor
        # Changed in a copy: the module may still need the tensor it gave us.
        new = tensor.clone(memory_format=torch.contiguous_format)
        view = split_last(new, *hooks.head_shape) if edit.site is Site.HEAD_Z else new
        rows = view[:, at - begin]
        picked = rows if edit.head is None else rows[:, :, edit.head]
        some = picked if edit.units is None else picked[..., edit.units]
        changed = edit.change(some, at)
        if edit.units is not None:
            picked[..., edit.units] = changed
            changed = picked
        if edit.head is None:
            view[:, at - begin] = changed
        else:
            view[:, at - begin, edit.head] = changed
        return new

    return change


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
