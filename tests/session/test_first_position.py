"""What an attribution graph shows at its first position is drawn as one folded group."""

from dataclasses import replace
from pathlib import Path

import numpy as np

import circuitscope as cs
from circuitscope.core.circuit import EdgeTable, NodeTable, Route
from circuitscope.core.finding import Provenance
from circuitscope.session.work import fold_first_position


def circuit(method: str) -> cs.Circuit:
    keys = [
        cs.NodeKey(cs.NodeKind.TOKEN, cs.Site.EMBED, -1, 0, 5),
        *(cs.NodeKey(cs.NodeKind.FEATURE, cs.Site.MLP_TRANSCODER, 0, 0, u) for u in (1, 2)),
        cs.NodeKey(cs.NodeKind.FEATURE, cs.Site.MLP_TRANSCODER, 0, 1, 1),
        cs.NodeKey(cs.NodeKind.LOGIT, cs.Site.LOGITS, 1, 1, 9),
    ]
    source, target = [0, 0, 1, 2, 3], [1, 2, 4, 4, 4]
    zeros = np.zeros(5, np.float32)
    return cs.Circuit(
        ("a", "b"), (5, 6), NodeTable.from_keys(keys),
        EdgeTable(source, target, np.ones(5), np.full(5, Route.DIRECT)), [4], [1.0], zeros, zeros,
        zeros, zeros > 1, Provenance(method),
    )  # fmt: skip


def test_the_first_positions_features_become_one_folded_group(tmp_path: Path) -> None:
    with cs.new_project(tmp_path / "p.circuitscope") as project:
        for method in ("attribution", "direct"):
            made = replace(circuit(method), provenance=Provenance(method))
            fold_first_position(project, project.add_finding(made, method))
        groups = {
            name: [row for key, row in project.drawing(name).rows.items() if key.kind == "group"]
            for name in ("attribution", "direct")
        }
    assert [row["label"] for row in groups["attribution"]] == ["first position"]
    assert not groups["attribution"][0]["open"]
    assert not groups["direct"]
