"""A realistic made-up circuit of the Dallas kind, with groups, pins and labels."""

import numpy as np

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.core.rows import RowKey, Rows
from circuitscope.graph.influence import influence, stages

TOKENS = ("<bos>", "the", "capital", "of", "the", "state", "containing", "Dallas", "is")
LAST = len(TOKENS) - 1
# name: (colour, [(site, layer, unit), ...])
GROUPS = {
    "Texas": (
        "teal",
        [("a", 0, 31), ("a", 0, 88), ("m", 0, 214), ("m", 0, 7), ("m", 1, 88), ("m", 1, 120)],
    ),
    "say a capital": ("violet", [("a", 0, 5), ("m", 0, 90), ("a", 1, 44), ("m", 2, 61)]),
    "say Austin": ("teal", [("m", 2, 301), ("a", 3, 12), ("m", 3, 57)]),
    "other states": ("amber", [("m", 1, 9), ("m", 1, 33)]),
}
# share of the target's input that comes from each source
FLOWS = [
    ("Dallas", "Texas", 0.62),
    ("state", "Texas", 0.12),
    ("capital", "say a capital", 0.40),
    ("the", "say a capital", 0.06),
    ("containing", "other states", 0.25),
    ("Dallas", "other states", 0.15),
    ("Texas", "say Austin", 0.44),
    ("other states", "say Austin", -0.12),
    ("say a capital", "say Austin", 0.09),
    ("say a capital", "Austin", 0.38),
    ("say Austin", "Austin", 0.5),
    ("other states", "Austin", -0.05),
]


def dallas() -> tuple[Circuit, Rows]:
    """Return the circuit and a drawing with four groups, five pins and one label."""
    keys = [NodeKey(NodeKind.TOKEN, Site.EMBED, -1, i, 10 + i) for i in range(len(TOKENS))]
    members: dict[str, list[int]] = {TOKENS[i]: [i] for i in (2, 4, 5, 6, 7)}
    for name, (_, units) in GROUPS.items():
        members[name] = []
        for site, layer, unit in units:
            members[name].append(len(keys))
            place = Site.ATTN_OUT if site == "a" else Site.MLP_OUT
            keys.append(NodeKey(NodeKind.FEATURE, place, layer, LAST, unit))
    rng = np.random.default_rng(7)
    rest = len(keys)
    for _ in range(46):
        site = Site.ATTN_OUT if rng.random() < 0.4 else Site.MLP_OUT
        layer, position = int(rng.integers(0, 4)), int(rng.integers(1, len(TOKENS)))
        kind = NodeKind.ERROR if rng.random() < 0.15 else NodeKind.FEATURE
        unit = -1 if kind is NodeKind.ERROR else int(rng.integers(400, 900))
        key = NodeKey(kind, site, layer, position, unit)
        if key not in keys:
            keys.append(key)
    bias = len(keys)
    keys.append(NodeKey(NodeKind.BIAS, Site.MLP_OUT, 1, -1, BiasUnit.ENCODER))
    roots = list(range(len(keys), len(keys) + 4))
    keys += [NodeKey(NodeKind.LOGIT, Site.LOGITS, 4, LAST, 100 + i) for i in range(4)]
    members["Austin"] = [roots[0]]

    stage = stages(NodeTable.from_keys(keys))
    weights: dict[tuple[int, int], float] = {}
    for source, target, share in FLOWS:
        pairs = [(s, t) for s in members[source] for t in members[target] if stage[s] < stage[t]]
        for pair in pairs:
            weights[pair] = weights.get(pair, 0) + 10 * share / len(pairs) * float(
                rng.uniform(0.5, 1.5)
            )
    for target in range(len(TOKENS), len(keys)):
        if target == bias:
            continue
        earlier = [
            s
            for s in range(len(keys))
            if stage[s] < stage[target]
            and keys[s].position <= keys[target].position
            and s not in roots
        ]
        for source in rng.choice(earlier, min(7, len(earlier)), replace=False):
            far = 1.0 if rest <= target < bias else 0.25
            weights.setdefault((int(source), target), float(rng.normal(0, 0.4) * far))
    source, target = np.array(list(weights)).T
    weight = np.array(list(weights.values()), np.float32)
    n = len(keys)
    names = {int(i): name for name, found in members.items() for i in found if len(found) == 1}
    labels = tuple(
        names.get(i)
        or (
            f"on {TOKENS[k.position]} → Texas, Houston"
            if k.kind is NodeKind.FEATURE
            else TOKENS[k.position]
            if k.kind is NodeKind.TOKEN
            else ("Austin", "Sacramento", "Waco", "Denver")[i - roots[0]]
            if i in roots
            else ""
        )
        for i, k in enumerate(keys)
    )
    circuit = Circuit(
        TOKENS,
        tuple(range(10, 10 + len(TOKENS))),
        NodeTable.from_keys(keys),
        EdgeTable(source, target, weight, np.full(len(weight), Route.DIRECT)),
        np.array(roots),
        np.array([0.97, 0.012, 0.004, 0.002]),
        np.bincount(target, weight, minlength=n),
        np.zeros(n),
        np.zeros(n),
        np.isin(np.arange(n), target),
        Provenance(
            "direct",
            "0.1.0",
            {"prompt": "the capital of the state containing Dallas is", "mlp": "secant"},
            {"name": "atlas-4L", "n_layers": 4},
            tuple({"name": f"mlp_out_{i}"} for i in range(12)),
        ),
        labels,
    )
    return circuit.with_influence(influence(circuit)), _rows(keys, members, roots[0])


def _rows(keys: list[NodeKey], members: dict[str, list[int]], root: int) -> Rows:
    rows: Rows = {}
    for name, (color, _) in GROUPS.items():
        group = name.replace(" ", "_")
        rows[RowKey("c", "group", group)] = {"label": name, "color": color, "open": False}
        for i in members[name]:
            rows[RowKey("c", "member", str(keys[i]))] = {"group": group}
    for i in (2, 6, 7, root):
        rows[RowKey("c", "pin", str(keys[i]))] = {}
    return rows
