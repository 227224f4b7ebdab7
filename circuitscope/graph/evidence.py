"""What tests on the model say of what a drawing shows: badges of nodes, edges and groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.badges import Badge, Outcome, adjusted, badge_of
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import Row, RowKey, Rows
from circuitscope.graph.view import find_node

FIXED = (NodeKind.LOGIT, NodeKind.SCORE, NodeKind.BIAS, NodeKind.OPAQUE)
"""Kinds that no test changes."""


@dataclass(frozen=True, slots=True)
class Run:
    """One stored test, its p corrected for all tests of the drawing, and its badge."""

    id: str
    tested: Outcome
    q: float
    badge: Badge


@dataclass(frozen=True, slots=True)
class Marks:
    """The badges of a drawing; where something was tested again, the latest test counts.

    Attributes:
        runs: All tests, oldest first.
        nodes: By node index; edges: by source and target index; groups: by the members' indices.
    """

    runs: tuple[Run, ...] = ()
    nodes: Mapping[int, Run] = field(default_factory=dict)
    edges: Mapping[tuple[int, int], Run] = field(default_factory=dict)
    groups: Mapping[frozenset[int], Run] = field(default_factory=dict)

    def counts(self) -> dict[Badge, int]:
        """Return how many things carry each badge, in the order of `Badge`."""
        shown = [*self.nodes.values(), *self.edges.values(), *self.groups.values()]
        found = {badge: sum(run.badge is badge for run in shown) for badge in Badge}
        return {badge: number for badge, number in found.items() if number}

    def of_members(self, members: frozenset[int]) -> Run | None:
        """Return the test of a box: of its one node, or of the group of these members."""
        if len(members) == 1:
            return self.nodes.get(next(iter(members)))
        return self.groups.get(members)


def runs_of(rows: Mapping[RowKey, Row] | Rows) -> tuple[Run, ...]:
    """Return the tests among a drawing's rows, oldest first; rows that make no sense are left."""
    found = []
    for key, row in rows.items():
        if key.kind == "run" and row is not None:
            try:
                found.append((key.id, Outcome.from_json(row)))
            except (TypeError, ValueError):
                continue
    found.sort(key=lambda pair: pair[0])
    q = adjusted([tested.p for _, tested in found])
    return tuple(
        Run(name, tested, float(one), badge_of(tested, float(one)))
        for (name, tested), one in zip(found, q, strict=True)
    )


def marks_of(circuit: Circuit, rows: Mapping[RowKey, Row] | Rows) -> Marks:
    """Return the badges of a drawing; tests of nodes that the circuit lacks are only listed."""
    runs = runs_of(rows)
    nodes: dict[int, Run] = {}
    edges: dict[tuple[int, int], Run] = {}
    groups: dict[frozenset[int], Run] = {}
    for run in runs:
        ends = [find_node(circuit, name) for name in run.tested.subject]
        known = [end for end in ends if end is not None]
        if len(known) < len(ends):
            continue
        if run.tested.kind in ("node", "group") and len(known) == 1:
            nodes[known[0]] = run
        elif run.tested.kind == "edge" and len(known) == 2:
            edges[known[0], known[1]] = run
        elif run.tested.kind == "group":
            groups[frozenset(known)] = run
    return Marks(runs, nodes, edges, groups)


def untested(circuit: Circuit, marks: Marks, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which shown nodes could be tested and were not, alone or in a group, bool [n]."""
    able: NDArray[np.bool_] = shown & ~circuit.nodes.of_kind(*FIXED) & (circuit.nodes.position != 0)
    able[list(marks.nodes)] = False
    for members in marks.groups:
        able[list(members)] = False
    return able
