"""Trying changes on the model and reading its lens: what is asked, what comes back, and how.

Requests and results are plain data; torch, models and dictionaries are imported on use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.core.finding import Grid
from circuitscope.core.intervention import Freeze, Intervention
from circuitscope.core.settings import Logit, LogitDifference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuitscope.core.progress import Progress
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.engine.answers import Holdings
    from circuitscope.engine.requests import ModelChoice
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class TryChanges:
    """Run and continue a prompt with and without changes.

    Attributes:
        changes: Their `dictionary` is a digest, or "" for the one of `dictionaries` that holds
            features of that site and layer.
        dictionaries: Folders.
        top: Likeliest next tokens told of either run.
        n_tokens: New tokens.
        temperature: 0 takes the likeliest token at every step.
    """

    model: ModelChoice
    prompt: str | tuple[int, ...]
    changes: tuple[Intervention, ...]
    dictionaries: tuple[str, ...] = ()
    freeze: tuple[Freeze, ...] = ()
    top: int = 5
    n_tokens: int = 20
    seed: int = 0
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadLens:
    """Ask which tokens each residual state promotes; the answer is a `Grid`.

    Attributes:
        metric: With one, ask instead what each component adds to it (`tracing.logit_parts`).
        component: Which components, of those there.
    """

    model: ModelChoice
    prompt: str | tuple[int, ...]
    top: int = 5
    metric: Logit | LogitDifference | None = None
    component: Literal["parts", "sources", "resid_post", "attn_out", "mlp_out"] = "parts"


@dataclass(frozen=True, slots=True)
class Shift:
    """A next token and its full-softmax probabilities before and after the changes."""

    token_id: int
    text: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Tried:
    """What changes do to what the model says.

    Attributes:
        tokens: The prompt.
        shifts: The likeliest next tokens of both runs, by the larger of their probabilities.
        before: New tokens of the unchanged model; after: of the changed one.
    """

    tokens: tuple[str, ...]
    shifts: tuple[Shift, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


def try_changes(request: TryChanges, holdings: Holdings, progress: Progress) -> Tried:
    """Run the model twice and continue both.

    Raises:
        CircuitScopeError: A change cannot be made.
    """
    from circuitscope.models.intervene import generate

    model = holdings.model(request.model, progress)
    device = str(model.device)
    opened = holdings.dictionaries(request.dictionaries, device, progress)
    changes = tuple(_with_dictionary(change, opened) for change in request.changes)
    progress.phase("Running the prompt", 2)
    plain = model.run(request.prompt)
    progress.advance()
    changed = model.run(request.prompt, changes, freeze=request.freeze)
    progress.advance()

    def go_on(changes: Sequence[Intervention], freeze: Sequence[Freeze]) -> tuple[str, ...]:
        made = generate(
            model, plain.token_ids, request.n_tokens, changes, seed=request.seed, freeze=freeze,
            temperature=request.temperature, n_alternatives=1, progress=progress,
        )  # fmt: skip
        return made.tokens[len(plain.token_ids) :]

    before, after = go_on((), ()), go_on(changes, request.freeze)
    shifts = _shifts(model, plain.logits[-1], changed.logits[-1], request.top)
    return Tried(plain.tokens, shifts, before, after)


def read_lens(request: ReadLens, holdings: Holdings, progress: Progress) -> Grid:
    """Read the residual stream, or what is written to it, through the model's own head."""
    from circuitscope.models.lens import lens
    from circuitscope.tracing.logit_parts import logit_parts

    model, metric = holdings.model(request.model, progress), request.metric
    if metric is None:
        return lens(model, request.prompt, request.top, progress)
    return logit_parts(model, request.prompt, metric, request.component, progress=progress)


def _shifts(model: LoadedModel, before: Any, after: Any, top: int) -> tuple[Shift, ...]:
    import torch

    chances = torch.softmax(torch.stack([torch.tensor(before), torch.tensor(after)]).double(), -1)
    best = chances.topk(min(top, chances.shape[1]), dim=-1).indices
    ids = torch.tensor(sorted(set(best.flatten().tolist())))
    order = ids[chances[:, ids].max(0).values.argsort(descending=True)].tolist()
    return tuple(
        Shift(i, model.token_text(i), float(chances[0, i]), float(chances[1, i])) for i in order
    )


def _with_dictionary(change: Intervention, opened: Sequence[Dictionary]) -> Intervention:
    if change.feature is None:
        return change
    site = Site.parse(change.site)
    cards: Sequence[Any] = getattr(opened, "cards", ())
    fitting = [
        index
        for index, card in enumerate(cards)
        if card.feature_site is site and change.layer in card.layers
    ]
    exact = [index for index in fitting if cards[index].digest == change.dictionary]
    if not (exact or fitting):
        raise ModelError(
            f"No dictionary here has features of {site.text} in layer {change.layer}.",
            kept="The circuit is unchanged.",
            hint="Put the dictionaries that the circuit was traced with beside the model, or trace "
            "it again with them.",
        )
    return replace(change, dictionary=opened[(exact or fitting)[0]])
