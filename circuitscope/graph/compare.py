"""Compare two circuits: what both have, what one has alone, and what changes its sign.

1. Prune both by the same thresholds; only what is left is compared.
2. Pair their tokens: by edit distance (the longest common runs; a run that was replaced is paired
   from its end, where the answer is read), or counted from the end.
3. Two nodes are the same where kind, site, layer and unit agree and their positions are a pair;
   tokens by position alone, explained logits by rank, as both may be other words.
4. Two edges are the same where both ends are; they are flipped where their signs differ. A node is
   flipped where what it holds does, which only neurons, heads and scores can.

Overlap says what two drawings share, not what they do: whether one circuit works on the other's
prompt only the model can tell (`tracing.transfer`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.graph.influence import signed_shares
from circuitscope.graph.prune import prune

Alignment = Literal["edit", "end"]
Where = Literal["both", "a", "b", "flipped"]
WHERES: Final[tuple[Where, ...]] = ("both", "a", "b", "flipped")
Name = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A node that either circuit has.

    Attributes:
        a, b: Its index in each circuit, -1 where it is missing or pruned.
        key: Its name in the circuit that has it, in the first where both have.
        influence: In each circuit, 0 where missing.
        activation: Likewise.
        held: Whether each circuit has it at all, be it pruned or not.
    """

    a: int
    b: int
    key: NodeKey
    influence: tuple[float, float]
    activation: tuple[float, float] = (0.0, 0.0)
    held: tuple[bool, bool] = (True, True)

    @property
    def flipped(self) -> bool:
        """Return whether both have it, with values of opposite sign."""
        if self.a < 0 or self.b < 0 or self.key.kind is NodeKind.LOGIT:
            return False
        return self.activation[0] * self.activation[1] < 0

    @property
    def where(self) -> Where:
        """Return the one class it belongs to."""
        if self.flipped:
            return "flipped"
        return "both" if self.a >= 0 and self.b >= 0 else "a" if self.a >= 0 else "b"


@dataclass(frozen=True, slots=True)
class EdgePair:
    """An edge that either circuit has; weights, and shares of the target's input, are 0 if not.

    Attributes:
        ends: Places of source and target in `Comparison.nodes`.
    """

    source: NodeKey
    target: NodeKey
    weights: tuple[float, float]
    shares: tuple[float, float] = (0.0, 0.0)
    ends: tuple[int, int] = (-1, -1)

    @property
    def flipped(self) -> bool:
        """Return whether both have it, with opposite signs."""
        return self.weights[0] * self.weights[1] < 0

    @property
    def where(self) -> Where:
        """Return the one class it belongs to."""
        if self.flipped:
            return "flipped"
        has = self.weights[0] != 0, self.weights[1] != 0
        return "both" if has == (True, True) else "a" if has[0] else "b"


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

    def edges_in(self, where: Where) -> list[EdgePair]:
        """Return the edges of both circuits, of one alone, or those that change their sign."""
        if where == "flipped":
            return [pair for pair in self.edges if pair.flipped]
        wanted = {"both": ("both", "flipped"), "a": ("a",), "b": ("b",)}[where]
        return [pair for pair in self.edges if pair.where in wanted]

    def counts(self) -> dict[str, dict[Where, int]]:
        """Return how many "nodes" and "edges" there are of each class."""
        found = {"nodes": Counter(pair.where for pair in self.nodes),
                 "edges": Counter(pair.where for pair in self.edges)}  # fmt: skip
        return {what: {where: n[where] for where in WHERES} for what, n in found.items()}

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
    positions = align_tokens(a.token_ids, b.token_ids, align)
    names = _names(a, None), _names(b, {q: p for p, q in positions})
    kept = [prune(one, node_threshold, edge_threshold) for one in (a, b)]
    known = [set(side) for side in names]
    own = [
        {side[i]: i for i in np.flatnonzero(mask.node_mask).tolist()}
        for side, mask in zip(names, kept, strict=True)
    ]
    nodes = []
    for name in dict.fromkeys([*own[0], *own[1]]):
        i, j = own[0].get(name, -1), own[1].get(name, -1)
        key = a.nodes.key(i) if i >= 0 else b.nodes.key(j)
        size = _held(a.nodes.influence, i), _held(b.nodes.influence, j)
        value = _held(a.nodes.activation, i), _held(b.nodes.activation, j)
        nodes.append(Pair(i, j, key, size, value, (name in known[0], name in known[1])))
    # Ties are broken by what is the same whichever circuit comes first.
    nodes.sort(key=lambda pair: (-max(pair.influence), -min(pair.influence), pair.key.layer,
                                 pair.key.unit))  # fmt: skip
    found = _edges((a, b), tuple(nodes), [one.edge_mask for one in kept])
    return Comparison(positions, tuple(nodes), found)


def _edges(
    circuits: tuple[Circuit, Circuit], nodes: tuple[Pair, ...], masks: Sequence[NDArray[np.bool_]]
) -> tuple[EdgePair, ...]:
    """Pair the kept edges, whose ends are kept nodes; those of several routes are added up."""
    codes, sizes = [], []
    for side, circuit in enumerate(circuits):
        place = np.full(len(circuit.nodes), -1, np.int64)
        for at, pair in enumerate(nodes):
            if (node := (pair.a, pair.b)[side]) >= 0:
                place[node] = at
        kept, table = np.flatnonzero(masks[side]), circuit.edges
        codes.append(place[table.source[kept]] * len(nodes) + place[table.target[kept]])
        sizes.append((table.weight[kept].astype(np.float64), signed_shares(circuit)[kept]))
    known, which = np.unique(np.concatenate(codes), return_inverse=True)
    parts = np.split(which, [len(codes[0])])
    weights, shares = (
        np.stack([np.bincount(part, size[what], len(known)) for part, size in
                  zip(parts, sizes, strict=True)], axis=1)
        for what in (0, 1)
    )  # fmt: skip
    most, least = np.abs(weights).max(axis=1, initial=0), np.abs(weights).min(axis=1, initial=0)
    order = np.lexsort((known, -least, -most))
    ends = np.stack(np.divmod(known, max(len(nodes), 1)), axis=1)[order].tolist()
    return tuple(
        EdgePair(nodes[s].key, nodes[t].key, (w[0], w[1]), (share[0], share[1]), (s, t))
        for (s, t), w, share in zip(ends, weights[order].tolist(), shares[order].tolist(),
                                    strict=True)
    )  # fmt: skip


def counterparts(a: Circuit, b: Circuit, align: Alignment = "edit") -> NDArray[np.int64]:
    """Return the node of b that each node of a is the same as, int64 [n of a]; -1 for none."""
    positions = align_tokens(a.token_ids, b.token_ids, align)
    there = {name: node for node, name in enumerate(_names(b, {q: p for p, q in positions}))}
    return np.array([there.get(name, -1) for name in _names(a, None)], np.int64)


def align_tokens(
    a: Sequence[int], b: Sequence[int], align: Alignment = "edit"
) -> tuple[tuple[int, int], ...]:
    """Return pairs of positions that stand for each other, ascending; mirrored for (b, a).

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
    if tuple(b) < tuple(a):  # among equally good runs the matcher's choice depends on the order
        return tuple((p, q) for q, p in align_tokens(b, a))
    found: list[tuple[int, int]] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        n = min(i_end - i, j_end - j) if tag in ("equal", "replace") else 0
        found += [(i_end - n + k, j_end - n + k) for k in range(n)]
    return tuple(found)


def _names(circuit: Circuit, moved: dict[int, int] | None) -> list[Name]:
    """Return what each node is matched by; positions in the first circuit's counting.

    Positions that the first circuit lacks get numbers that it does not have.
    """
    nodes = circuit.nodes
    unit, position = nodes.unit.copy(), nodes.position.astype(np.int64)
    unit[nodes.of_kind(NodeKind.TOKEN, NodeKind.POSITION)] = 0
    for rank, root in enumerate(circuit.roots.tolist()):
        if nodes.kind[root] == NodeKind.LOGIT:
            unit[root] = rank
    columns: list[list[int]] = [
        column.tolist() for column in (nodes.kind, nodes.site, nodes.layer, position, unit)
    ]
    if moved is not None:
        columns[3] = [moved.get(p, -2 - p) if p >= 0 else p for p in columns[3]]
    return list(zip(*columns, strict=True))


def _held(column: NDArray[np.float32], node: int) -> float:
    return float(column[node]) if node >= 0 else 0.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
