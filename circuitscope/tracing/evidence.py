"""Evidence for circuits, as Python users call it; torch is imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from circuitscope.core.badges import Badge, Outcome
from circuitscope.core.badges import badges as badges_of
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKey

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


def badges(
    model: LoadedModel,
    circuit: Circuit,
    nodes: Sequence[int | NodeKey | str] | None = None,
    edges: Sequence[int] = (),
    groups: Sequence[Sequence[int | NodeKey | str]] = (),
    **options: Any,
) -> list[tuple[Outcome, Badge]]:
    """Test parts of a circuit on the unfrozen model, against matched controls.

    The options, among them counterfactual, ablation, draws and dictionaries, are those of
    `tracing.badges`. Badges are corrected for all tests of one call.
    """
    from circuitscope.tracing import badges as testing

    found = testing.badges(model, circuit, nodes, edges, groups, **options)
    return list(zip(found, badges_of(found), strict=True))
