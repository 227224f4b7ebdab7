"""Compare two circuits: what both have, what one has alone, and what changes its sign.

1. Prune both by the same thresholds; only what is left is compared.
2. Pair their tokens: by edit distance (the longest common runs; a run that was replaced by as many
   tokens is paired one by one), or counted from the end.
3. Two nodes are the same where kind, site, layer and unit agree and their positions are a pair;
   tokens by position alone, explained logits by rank, as both may be other words.
4. Two edges are the same where both ends are; they are flipped where their signs differ.

Overlap says what two drawings share, not what they do: whether one circuit works on the other's
prompt only the model can tell (`tracing.badges` on each).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.graph.prune import prune

Alignment = Literal["edit", "end"]
Name = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A node that either circuit has.

    Attributes:
        a, b: Its index in each circuit, -1 where it is missing or pruned.
        key: Its name in the circuit that has it, in the first where both have.
        influence: In each circuit, 0 where missing.
    """

    a: int
    b: int
    key: NodeKey
    influence: tuple[float, float]


@dataclass(frozen=True, slots=True)
class EdgePair:
    """An edge that either circuit has; weights are 0 where it is missing."""

    source: NodeKey
    target: NodeKey
    weights: tuple[float, float]

    @property
    def flipped(self) -> bool:
        """Return whether both have it, with opposite signs."""
        return self.weights[0] * self.weights[1] < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two circuits side by side, the strongest first.

    Attributes:
        positions: Pairs of positions that stand for each other.
    """

    positions: tuple[tuple[int, int], ...]
    nodes: tuple[Pair, ...]
    edges: tuple[EdgePair, ...]

    def nodes_in(self, where: Literal["both", "a", "b"]) -> list[Pair]:
        """Return the nodes of both circuits, or of one alone."""
        wanted = {"both": (True, True), "a": (True, False), "b": (False, True)}[where]
        return [pair for pair in self.nodes if (pair.a >= 0, pair.b >= 0) == wanted]

    def edges_in(self, where: Literal["both", "a", "b", "flipped"]) -> list[EdgePair]:
        """Return the edges of both circuits, of one alone, or those that change their sign."""
        if where == "flipped":
            return [pair for pair in self.edges if pair.flipped]
        wanted = {"both": (True, True), "a": (True, False), "b": (False, True)}[where]
        return [
            pair for pair in self.edges if (pair.weights[0] != 0, pair.weights[1] != 0) == wanted
        ]

    def overlap(self) -> dict[str, float]:
        """Return shares of nodes and edges that both have, of influence too, and of flips.

        `nodes` and `edges` are intersection over union; `influence` the same, weighted by the
        smaller and larger influence; `flipped` the part of the shared edges with opposite signs.
        """
        shared = self.edges_in("both")
        low = sum(min(pair.influence) for pair in self.nodes)
        high = sum(max(pair.influence) for pair in self.nodes)
        return {
            "nodes": _share(len(self.nodes_in("both")), len(self.nodes)),
            "edges": _share(len(shared), len(self.edges)),
            "influence": _share(low, high),
            "flipped": _share(len(self.edges_in("flipped")), len(shared)),
        }


def compare(
    a: Circuit,
    b: Circuit,
    align: Alignment = "edit",
    node_threshold: float = 0.8,
    edge_threshold: float = 0.98,
) -> Comparison:
    """Align two circuits and list what differs.

    Args:
        a: One circuit.
        b: The other, of any prompt, seed, method or checkpoint of the same architecture.
        align: How tokens are paired: "edit" by edit distance, "end" from the last one.
        node_threshold: Influence kept of both.
        edge_threshold: Likewise of edges.

    Raises:
        CircuitScopeError: There is no such alignment.
    """
    pairs = align_tokens(a.token_ids, b.token_ids, align)
    # Positions of b without partner get numbers that a does not have.
    moved = {q: p for p, q in pairs}
    first, second = _names(a, {}), _names(b, moved)
    kept = [prune(one, node_threshold, edge_threshold) for one in (a, b)]
    of_a = {first[i]: i for i in np.flatnonzero(kept[0].node_mask).tolist()}
    of_b = {second[i]: i for i in np.flatnonzero(kept[1].node_mask).tolist()}
    nodes = []
    for name in dict.fromkeys([*of_a, *of_b]):
        i, j = of_a.get(name, -1), of_b.get(name, -1)
        key = a.nodes.key(i) if i >= 0 else b.nodes.key(j)
        size = _influence(a, i), _influence(b, j)
        nodes.append(Pair(i, j, key, size))
    weights: dict[tuple[Name, Name], list[float]] = {}
    keys: dict[tuple[Name, Name], tuple[NodeKey, NodeKey]] = {}
    for side, (circuit, names) in enumerate(((a, first), (b, second))):
        for edge in np.flatnonzero(kept[side].edge_mask).tolist():
            ends = int(circuit.edges.source[edge]), int(circuit.edges.target[edge])
            between = names[ends[0]], names[ends[1]]
            keys.setdefault(between, (circuit.nodes.key(ends[0]), circuit.nodes.key(ends[1])))
            weights.setdefault(between, [0.0, 0.0])[side] += float(circuit.edges.weight[edge])
    edges = [EdgePair(*keys[ends], (two[0], two[1])) for ends, two in weights.items()]
    nodes.sort(key=lambda pair: -max(pair.influence))
    edges.sort(key=lambda pair: -max(abs(pair.weights[0]), abs(pair.weights[1])))
    return Comparison(pairs, tuple(nodes), tuple(edges))


def align_tokens(
    a: Sequence[int], b: Sequence[int], align: Alignment = "edit"
) -> tuple[tuple[int, int], ...]:
    """Return pairs of positions that stand for each other, ascending.

    Raises:
        CircuitScopeError: There is no such alignment.
    """
    if align == "end":
        n = min(len(a), len(b))
        return tuple((len(a) - n + k, len(b) - n + k) for k in range(n))
    if align != "edit":
        raise CircuitScopeError(
            f"There is no alignment {align!r}.", hint="Choices: edit (distance), end."
        )
    found: list[tuple[int, int]] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal" or (tag == "replace" and i_end - i == j_end - j):
            found += [(i + k, j + k) for k in range(i_end - i)]
    return tuple(found)


def _names(circuit: Circuit, moved: dict[int, int]) -> list[Name]:
    """Return what each node is matched by; positions in the first circuit's counting."""
    rank = {int(node): place for place, node in enumerate(circuit.roots)}
    names: list[Name] = []
    for node in range(len(circuit.nodes)):
        key = circuit.nodes.key(node)
        unit, position = key.unit, key.position
        if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
            unit = 0
        elif node in rank and key.kind is NodeKind.LOGIT:
            unit = rank[node]
        if moved and position >= 0:
            position = moved.get(position, -2 - position)
        names.append((int(key.kind), int(key.site), key.layer, position, unit))
    return names


def _influence(circuit: Circuit, node: int) -> float:
    return float(circuit.nodes.influence[node]) if node >= 0 else 0.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
