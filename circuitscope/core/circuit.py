"""A computed circuit: evidence that never changes.

Nodes and edges are structures of arrays, so that 100 000 nodes cost no objects; `Node` and
`Edge` are views made on demand. Growing a circuit makes a new one.
"""

import hashlib
import re
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Curves, Grid, Provenance, Ranking
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.viewing import SOCKET


class Route(IntEnum):
    """Say by which way an edge's effect travels; the codes are stored and never change."""

    DIRECT = 0
    VALUE = 1
    QUERY = 2
    KEY = 3
    RELEVANCE = 4
    MEASURED = 5
    FLOW = 6


_SPECIAL = re.compile(r"<[^<>\s]+>|⟨[^⟨⟩\s]+⟩")


def _frozen(array: NDArray, dtype: type) -> NDArray:
    fixed: NDArray = np.ascontiguousarray(array, dtype=dtype)
    if fixed is array and array.flags.writeable:
        fixed = fixed.copy()
    fixed.flags.writeable = False
    return fixed


NODE_COLUMNS: dict[str, type] = {
    "kind": np.uint8, "site": np.uint8, "layer": np.int16, "position": np.int32,
    "unit": np.int64, "activation": np.float32, "influence": np.float32,
}  # fmt: skip
EDGE_COLUMNS: dict[str, type] = {
    "source": np.int32, "target": np.int32, "weight": np.float32, "route": np.uint8
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class NodeTable:
    """The nodes of a circuit, one entry of every array each.

    Attributes:
        kind: `NodeKind` codes, uint8 [n].
        site: `Site` codes, uint8 [n].
        layer: int16 [n]; position: int32 [n]; unit: int64 [n]; see the table in `core.keys`.
        activation: What the node holds in this run, float32 [n].
        influence: Share of the roots' explanation that passes through it, float32 [n].
    """

    kind: NDArray[np.uint8]
    site: NDArray[np.uint8]
    layer: NDArray[np.int16]
    position: NDArray[np.int32]
    unit: NDArray[np.int64]
    activation: NDArray[np.float32]
    influence: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, dtype in NODE_COLUMNS.items():
            object.__setattr__(self, name, _frozen(getattr(self, name), dtype))
        lengths = {len(getattr(self, name)) for name in NODE_COLUMNS}
        assert len(lengths) == 1, f"node arrays differ in length: {lengths}"

    def __len__(self) -> int:
        return len(self.kind)

    def key(self, index: int) -> NodeKey:
        """Return the name of one node."""
        return NodeKey(
            NodeKind(int(self.kind[index])), Site(int(self.site[index])), int(self.layer[index]),
            int(self.position[index]), int(self.unit[index]),
        )  # fmt: skip

    @cached_property
    def _index(self) -> dict[NodeKey, int]:
        return {self.key(index): index for index in range(len(self))}

    def find(self, key: NodeKey | str) -> int | None:
        """Return the index of a node by key or key text; None where the circuit lacks it."""
        return self._index.get(NodeKey.parse(key) if isinstance(key, str) else key)

    def of_kind(self, *kinds: NodeKind) -> NDArray[np.bool_]:
        """Return a mask of the nodes of some kinds, bool [n]."""
        wanted = np.zeros(256, np.bool_)
        wanted[[int(kind) for kind in kinds]] = True
        found: NDArray[np.bool_] = wanted[self.kind]
        return found

    @staticmethod
    def from_keys(
        keys: list[NodeKey],
        activation: NDArray | None = None,
        influence: NDArray | None = None,
    ) -> "NodeTable":
        """Make a table from keys, for small circuits and tests."""
        n = len(keys)
        return NodeTable(
            np.array([key.kind for key in keys], np.uint8),
            np.array([key.site for key in keys], np.uint8),
            np.array([key.layer for key in keys], np.int16),
            np.array([key.position for key in keys], np.int32),
            np.array([key.unit for key in keys], np.int64),
            np.zeros(n, np.float32) if activation is None else activation,
            np.zeros(n, np.float32) if influence is None else influence,
        )


@dataclass(frozen=True, eq=False)
class EdgeTable:
    """The edges of a circuit, sorted by target, then source.

    Attributes:
        source: Node index, int32 [m]; target: node index, int32 [m].
        weight: Signed raw contribution to the target's pre-activation, float32 [m].
        route: `Route` codes, uint8 [m].
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: NDArray[np.float32]
    route: NDArray[np.uint8]

    def __post_init__(self) -> None:
        source, target = np.asarray(self.source), np.asarray(self.target)
        # What comes from a project is sorted; two million edges would take half a second again.
        rises, stays = target[1:] > target[:-1], target[1:] == target[:-1]
        order: slice | NDArray = slice(None)
        if not np.all(rises | (stays & (source[1:] >= source[:-1]))):
            order = np.lexsort((source, target))
        for name, dtype in EDGE_COLUMNS.items():
            object.__setattr__(self, name, _frozen(np.asarray(getattr(self, name))[order], dtype))

    def __len__(self) -> int:
        return len(self.source)

    def into(self, node: int) -> slice:
        """Return where the edges into a node lie."""
        # Ends of the column's own type, or the whole column would be converted first.
        lo, hi = np.searchsorted(self.target, np.array([node, node + 1], np.int32))
        return slice(int(lo), int(hi))

    @cached_property
    def _by_source(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        order = np.argsort(self.source, kind="stable")
        return order, self.source[order]

    def out_of(self, node: int) -> NDArray[np.int64]:
        """Return the indices of the edges that leave a node."""
        order, sources = self._by_source
        lo, hi = np.searchsorted(sources, np.array([node, node + 1], np.int32))
        return order[lo:hi]

    @cached_property
    def routes(self) -> frozenset[int]:
        """Return the `Route` codes that edges of this table have."""
        return frozenset(np.unique(self.route).tolist())


@dataclass(frozen=True, eq=False)
class Circuit:
    """What a method found: which nodes produced the roots, by how much.

    Attributes:
        tokens: Text of each token, special ones included.
        token_ids: Ids of the same tokens.
        roots: Indices of the explained nodes, int32 [r]; root_weights: their weights, float32 [r].
        preactivation: What each row explains, from the forward pass, float32 [n]; 0 where unknown.
        unexplained: Separately summed contribution of sources not kept as nodes, float32 [n].
        conservation: |pre - sum - unexplained| / (sum |edges| + |unexplained|), float32 [n].
        expanded: Whether a node's row was computed, bool [n].
        labels: Automatic label of each node ("on Dallas → Texas, Houston"), "" where none.
        provenance: Where it comes from.
    """

    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    nodes: NodeTable
    edges: EdgeTable
    roots: NDArray[np.int32]
    root_weights: NDArray[np.float32]
    preactivation: NDArray[np.float32]
    unexplained: NDArray[np.float32]
    conservation: NDArray[np.float32]
    expanded: NDArray[np.bool_]
    provenance: Provenance
    labels: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        n = len(self.nodes)
        for name, dtype in CIRCUIT_COLUMNS.items():
            object.__setattr__(self, name, _frozen(getattr(self, name), dtype))
        for name in ("preactivation", "unexplained", "conservation", "expanded"):
            assert len(getattr(self, name)) == n, f"{name} has not one entry per node"
        if not self.labels:
            object.__setattr__(self, "labels", ("",) * n)
        assert len(self.labels) == n, "labels has not one entry per node"
        ends = np.concatenate([self.edges.source, self.edges.target, self.roots])
        assert not len(ends) or (ends.min() >= 0 and ends.max() < n), "an edge leaves the circuit"

    @cached_property
    def digest(self) -> str:
        """Return sha256 over the evidence arrays and tokens."""
        total = hashlib.sha256()
        for table, columns in ((self.nodes, NODE_COLUMNS), (self.edges, EDGE_COLUMNS)):
            for name in columns:
                total.update(getattr(table, name).tobytes())
        for name in CIRCUIT_COLUMNS:
            total.update(getattr(self, name).tobytes())
        total.update("\x00".join(self.tokens).encode("utf-8", "surrogatepass"))
        return total.hexdigest()

    @cached_property
    def row_sizes(self) -> NDArray[np.float64]:
        """Return what a row's shares are of, float64 [n]: sizes of its edges and of what is left.

        What is left is `unexplained`, the sources that the node budget left out.
        """
        size = np.abs(self.edges.weight.astype(np.float64))
        total = np.bincount(self.edges.target, size, minlength=len(self.nodes))
        found: NDArray[np.float64] = total.astype(np.float64) + np.abs(self.unexplained)
        return found

    @property
    def prompt(self) -> str:
        """Return the prompt as the user wrote it, or the tokens joined."""
        written = self.provenance.settings.get("prompt")
        if isinstance(written, str) and written:
            return written
        return " ".join(token for token in self.tokens if not _SPECIAL.fullmatch(token))

    def probability(self, root: int) -> float | None:
        """Return the probability of an explained token; None for all other nodes.

        A logit's weight is its probability where no target is a difference or a direction, whose
        nodes look the same and weigh one.
        """
        targets = self.provenance.settings.get("targets") or ()
        at = np.flatnonzero(self.roots == root)
        others = ("LogitDifference", "Direction")
        if not len(at) or any(target.get("kind") in others for target in targets):
            return None
        is_logit = self.nodes.kind[root] == NodeKind.LOGIT
        return float(self.root_weights[at[0]]) if is_logit else None

    def node(self, index: int) -> "Node":
        """Return a view of one node."""
        return Node(self, int(index))

    def edge(self, index: int) -> "Edge":
        """Return a view of one edge."""
        return Edge(self, int(index))

    def inputs(self, node: int) -> list["Edge"]:
        """Return the edges into a node, strongest first."""
        span = self.edges.into(node)
        order = np.argsort(-np.abs(self.edges.weight[span]), kind="stable")
        return [Edge(self, span.start + int(i)) for i in order]

    def outputs(self, node: int) -> list["Edge"]:
        """Return the edges out of a node, strongest first."""
        found = self.edges.out_of(node)
        order = np.argsort(-np.abs(self.edges.weight[found]), kind="stable")
        return [Edge(self, int(found[i])) for i in order]

    def _repr_svg_(self) -> str | None:
        """Return the picture that notebooks show; None where nothing draws in this process."""
        return SOCKET.viewer.svg(self) if SOCKET.viewer else None

    def open(self) -> None:
        """Show the circuit in the window, as a project of its own; return at once.

        Raises:
            CircuitScopeError: Nothing in this process can open windows.
        """
        if SOCKET.viewer is None:
            raise CircuitScopeError(
                "This process has no window to open a circuit in.",
                kept="The circuit is unchanged.",
                hint="Import circuitscope as cs and use its functions first.",
            )
        SOCKET.viewer.open(self)

    def with_influence(self, influence: NDArray[np.float32]) -> "Circuit":
        """Return the same circuit with another influence column."""
        return replace(self, nodes=replace(self.nodes, influence=influence))


CIRCUIT_COLUMNS: dict[str, type] = {
    "roots": np.int32, "root_weights": np.float32, "preactivation": np.float32,
    "unexplained": np.float32, "conservation": np.float32, "expanded": np.bool_,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """A view of one node, made on demand for panels and exporters."""

    circuit: Circuit
    index: int

    @property
    def key(self) -> NodeKey:
        """Return its name."""
        return self.circuit.nodes.key(self.index)

    @property
    def kind(self) -> NodeKind:
        """Return what it stands for."""
        return NodeKind(int(self.circuit.nodes.kind[self.index]))

    @property
    def token(self) -> str:
        """Return the text of the token at its position, "" where it has none."""
        position = int(self.circuit.nodes.position[self.index])
        return self.circuit.tokens[position] if 0 <= position < len(self.circuit.tokens) else ""

    @property
    def label(self) -> str:
        """Return its automatic label."""
        return self.circuit.labels[self.index]

    @property
    def activation(self) -> float:
        """Return what it holds in this run."""
        return float(self.circuit.nodes.activation[self.index])

    @property
    def influence(self) -> float:
        """Return its share of the roots' explanation."""
        return float(self.circuit.nodes.influence[self.index])


@dataclass(frozen=True, slots=True)
class Edge:
    """A view of one edge, made on demand for panels and exporters."""

    circuit: Circuit
    index: int

    @property
    def source(self) -> Node:
        """Return where it starts."""
        return Node(self.circuit, int(self.circuit.edges.source[self.index]))

    @property
    def target(self) -> Node:
        """Return where it ends."""
        return Node(self.circuit, int(self.circuit.edges.target[self.index]))

    @property
    def weight(self) -> float:
        """Return its signed contribution to the target's pre-activation."""
        return float(self.circuit.edges.weight[self.index])

    @property
    def route(self) -> Route:
        """Return the way it travels."""
        return Route(int(self.circuit.edges.route[self.index]))

    @property
    def share(self) -> float:
        """Return weight / sum of |weights into the target|: the number users read."""
        edges = self.circuit.edges
        total = float(np.abs(edges.weight[edges.into(int(edges.target[self.index]))]).sum())
        return self.weight / total if total else 0.0


Finding = Circuit | Grid | Ranking | Curves
"""Whatever a method finds and a project stores."""
