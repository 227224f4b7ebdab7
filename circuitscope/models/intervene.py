"""Run the model with changes at chosen sites, and generate from it.

Changes are hooks on the real Hugging Face module; what they do equals a plain forward hook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.core.intervention import Freeze, Intervention
from circuitscope.core.progress import Progress, silent
from circuitscope.models.capture import ForwardCache, capture, exact
from circuitscope.models.edits import install, plan
from circuitscope.models.guessed import is_guessed
from circuitscope.models.holding import Held
from circuitscope.models.hooks import Hooks
from circuitscope.models.prompts import Written, read_prompt, token_texts
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, eq=False)
class ModelRun:
    """One forward pass, in numpy.

    Attributes:
        token_ids: The prompt.
        tokens: Display text of each token.
        logits: float32 [pos, d_vocab]; [label] in a classifier.
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
    model: LoadedModel,
    prompt: Written,
    interventions: Sequence[Intervention] = (),
    freeze: Sequence[Freeze] = (),
) -> ModelRun:
    """Run a prompt once.

    Args:
        model: The model.
        prompt: Text, or ids used exactly as given.
        interventions: Applied in order.
        freeze: "patterns" and "norms" stay as in the unchanged model.

    Raises:
        PromptError: The prompt cannot be run.
        ModelError: An intervention names a place that does not exist, or a value that does not fit.
    """
    model = in_float32(model)
    read = read_prompt(model, prompt)
    edits = plan(model, interventions, read.token_ids)
    held = Held(model, freeze)
    held.follow([read.token_ids])

    def prepare(hooks: Hooks) -> None:
        held.install(hooks)
        install(model, hooks, edits)

    cache = capture(model, read.token_ids, prepare)
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
    freeze: Sequence[Freeze] = (),
    progress: Progress | None = None,
) -> Generation:
    """Continue a prompt until n_tokens, an end-of-text token or the end of the context.

    Args:
        model: The model.
        prompt: Text, or ids used exactly as given.
        n_tokens: Most new tokens.
        interventions: Without positions they act on new tokens too; a swap on the prompt's only.
        seed: Seeds sampling.
        temperature: 0 takes the likeliest token each time.
        n_alternatives: Tokens listed for each new position.
        freeze: "patterns" and "norms" stay as in the unchanged model on the same tokens.
        progress: Hears each token; may cancel between two.
    """
    from transformers import DynamicCache

    hear = progress or silent()
    if not model.anatomy.causal:
        raise ModelError(
            f"{model.anatomy.name or model.anatomy.architecture} does not continue texts: it reads "
            "them in both directions.",
            hint="Choose a causal language model.",
        )
    read = read_prompt(model, prompt)
    ids = list(read.token_ids)
    edits = plan(model, interventions, ids, n_tokens)
    held = Held(model, freeze)
    stops = _end_tokens(model)
    source = torch.Generator().manual_seed(seed)
    # Classes whose caches are not known are run whole for every token.
    cached, seen = not is_guessed(model.family), 0
    past, plain_past = (DynamicCache(), DynamicCache()) if cached else (None, None)
    listed: list[tuple[Alternative, ...]] = []
    hear.phase("Generating", n_tokens)
    while len(listed) < n_tokens and len(ids) < model.anatomy.n_ctx:
        held.follow([ids[seen:]], plain_past)
        with Hooks(model) as hooks:
            held.install(hooks)
            install(model, hooks, edits, seen)
            logits = exact(hooks.forward([ids[seen:]], past)[0, -1]).cpu()
            seen = len(ids) if cached else 0
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


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
