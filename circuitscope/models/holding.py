"""Hold attention patterns and norm denominators while interventions change the rest.

The unchanged model runs beside the changed one, on the same tokens and with a cache of its own;
each pass of the changed model then uses the patterns and denominators that the unchanged one had
in the same pass. So new tokens are held too: at what the unchanged model does with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.core.intervention import FREEZES, Freeze
from circuitscope.models.capture import exact, norm_scale
from circuitscope.models.family import NORM_PARTS
from circuitscope.models.guessed import is_guessed
from circuitscope.models.hooks import Hooks

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


class Held:
    """What the unchanged model had in the pass that runs now.

    Args:
        model: The model.
        freeze: "patterns", "norms" or both.

    Raises:
        ModelError: `freeze` names something else.
    """

    def __init__(self, model: LoadedModel, freeze: Sequence[Freeze]) -> None:
        unknown = [name for name in freeze if name not in FREEZES]
        if unknown:
            raise ModelError(
                f"{unknown[0]!r} cannot be frozen.", hint=f"Choose from: {', '.join(FREEZES)}."
            )
        if freeze and is_guessed(model.family):
            raise ModelError(
                f"{', '.join(freeze)} cannot be frozen in a {model.anatomy.architecture}, whose "
                "arithmetic is not known.",
                kept="The model is unchanged.",
                hint="Leave them free to follow the change.",
            )
        self._model, self._freeze = model, tuple(freeze)
        self._patterns: dict[int, Tensor] = {}
        self._scales: dict[tuple[Site, int], Tensor] = {}

    def follow(self, ids: Sequence[Sequence[int]], past: Any = None) -> None:
        """Run the unchanged model and keep what is to be held."""
        if not self._freeze:
            return
        with Hooks(self._model) as hooks:
            if "patterns" in self._freeze:
                for layer in range(self._model.anatomy.n_layers):
                    self._keep_pattern(hooks, layer)
            for site, layer in self._norms():
                self._keep_scale(hooks, site, layer)
            hooks.forward(ids, past)

    def install(self, hooks: Hooks) -> None:
        """Hold it in the model; register before the interventions."""
        if "patterns" in self._freeze:
            for layer in range(self._model.anatomy.n_layers):
                self._hold_pattern(hooks, layer)
        for site, layer in self._norms():
            self._hold_scale(hooks, site, layer)

    def _norms(self) -> list[tuple[Site, int]]:
        if "norms" not in self._freeze:
            return []
        parts, n_layers = self._model.family.parts, self._model.anatomy.n_layers
        found: list[tuple[Site, int]] = []
        for site, part in NORM_PARTS.items():
            if part in parts:
                layers = range(n_layers) if "{layer}" in parts[part] else range(1)
                found += [(site, layer) for layer in layers]
        return found

    def _keep_pattern(self, hooks: Hooks, layer: int) -> None:
        hooks.read_pattern(layer, lambda pattern: self._patterns.update({layer: pattern.clone()}))

    def _hold_pattern(self, hooks: Hooks, layer: int) -> None:
        hooks.edit_pattern(layer, lambda new: self._patterns[layer].to(new.dtype).expand_as(new))

    def _keep_scale(self, hooks: Hooks, site: Site, layer: int) -> None:
        norm = self._model.family.norm(self._model.module, site, layer)

        def keep(x: Tensor) -> None:
            self._scales[site, layer] = norm_scale(norm, exact(x))[1]

        hooks.read(NORM_PARTS[site], "input", layer, keep)

    def _hold_scale(self, hooks: Hooks, site: Site, layer: int) -> None:
        norm = self._model.family.norm(self._model.module, site, layer)

        def normalise(x: Tensor) -> Tensor:
            centred, _ = norm_scale(norm, exact(x))
            out = centred / self._scales[site, layer][..., None] * norm.weight
            return (out if norm.bias is None else out + norm.bias).to(x.dtype)

        hooks.replace(NORM_PARTS[site], layer, normalise)
