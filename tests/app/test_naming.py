"""Nodes in words."""

from dataclasses import replace

import pytest

from circuitscope.app import naming
from circuitscope.app.main_window import MainWindow
from circuitscope.core.circuit import Circuit
from circuitscope.core.settings import Logit, LogitDifference, target_as_json
from circuitscope.project import verbs


def test_every_kind_has_a_line(small_circuit: Circuit) -> None:
    lines = [naming.kind_line(small_circuit, node) for node in range(len(small_circuit.nodes))]
    assert lines[1] == "token 6 · id 8"
    assert lines[2] == "L0 · attention feature 31 · “is”"
    assert lines[5] == "L0 · unexplained part of the MLP output · “is”"
    assert lines[6] == "L1 · encoder bias"
    assert lines[7] == "logit · id 10 · after “is”"


@pytest.mark.parametrize(("target", "text"), [
    (Logit(), "90.0\u202f%"), (Logit("Austin"), "90.0\u202f%"),
    (LogitDifference("Austin", "Sacramento"), ""),
])  # fmt: skip
def test_only_logits_weigh_a_probability(
    small_circuit: Circuit, target: Logit | LogitDifference, text: str
) -> None:
    settings = {"targets": [target_as_json(target)]}
    record = replace(small_circuit.provenance, settings=settings)
    assert naming.root_share(replace(small_circuit, provenance=record), 7) == text


def test_a_list_shows_what_an_automatic_label_promotes(drawn: MainWindow) -> None:
    session = drawn.session
    assert naming.list_name(session, 3) == "Texas, Austin"
    assert not naming.is_named(session, 3)
    session.edit(verbs.label, str(session.circuit.nodes.key(3)), "on Dallas → Texas")
    assert naming.list_name(session, 3) == "on Dallas → Texas"
    assert naming.list_name(session, 5) == "unexplained"
    assert naming.list_name(session, 1) == "Dallas"
