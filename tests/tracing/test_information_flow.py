"""Information flow: shares of sums, by hand on a wired model, and as promised everywhere."""

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.core.circuit import Route
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import silent
from circuitscope.exchange.figures import circuit_figure
from circuitscope.exchange.theme import PRINT, preset_named
from circuitscope.exchange.vector import svg_text
from circuitscope.graph.influence import influence
from circuitscope.tracing.methods.information_flow import flow_of, importances
from tests.tracing.test_verify import PROMPT


def test_importances_are_shares_of_a_sum() -> None:
    parts = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert importances(parts, parts.sum(0)).tolist() == [0.25, 0.75]
    # What points the other way is no part of the sum.
    against = torch.tensor([[2.0, 2.0], [-1.0, 0.0]])
    assert importances(against, against.sum(0)).tolist() == [1.0, 0.0]
    many = torch.randn(50, 7, 9, generator=torch.Generator().manual_seed(0))
    shares = importances(many, many.sum(1))
    assert bool((shares >= 0).all())
    assert torch.allclose(shares.sum(-1), torch.ones(50).double())


def test_the_wired_model_has_the_route_that_was_wired(hand_wired) -> None:
    circuit = cs.trace(hand_wired, [1, 3, 2], "information_flow", targets="logit:#5")
    held = {str(circuit.nodes.key(k)): float(circuit.nodes.activation[k]) for k in range(4)}
    moved = 2 / np.sqrt(5 / 4)  # a third of three times the normed entry, beside an entry of 1
    assert set(held) == {
        "token/embed/-1/1/3", "token/embed/-1/2/2", "head/head_z/0/2/0", "logit/logits/1/2/5"
    }  # fmt: skip
    assert held["head/head_z/0/2/0"] == pytest.approx(moved / (1 + moved), rel=1e-5)
    assert held["token/embed/-1/1/3"] == held["head/head_z/0/2/0"]
    assert held["token/embed/-1/2/2"] == pytest.approx(1 / (1 + moved), rel=1e-5)
    assert circuit.provenance.scores["followed"] == pytest.approx(1)


@pytest.mark.parametrize("least", [0.0, 0.02])
def test_every_state_is_followed_to_words_and_what_was_left_out(model, least) -> None:
    ids = list(model.prompt(PROMPT).token_ids)
    flow = flow_of(model, ids, least, silent())
    for state in (*flow.pre, *flow.mid, flow.final):
        assert (state >= -1e-9).all()
        np.testing.assert_allclose(state.sum(-1), 1, atol=1e-6)
    for position in (0, len(ids) - 1):
        reached = flow.reached(position)
        np.testing.assert_allclose(reached[:, [0, 1, -1]].sum(), 1, atol=1e-5)


def test_rows_add_up_and_the_budget_is_summed_as_unexplained(model) -> None:
    whole = cs.trace(model, PROMPT, "information_flow", least_share=0.0, max_nodes=None)
    small = cs.trace(model, PROMPT, "information_flow", max_nodes=16)
    assert len(small.nodes) <= 17 < len(whole.nodes)
    for circuit in (whole, small):
        rows = np.bincount(circuit.edges.target, circuit.edges.weight, minlength=len(circuit.nodes))
        wanted = circuit.expanded
        np.testing.assert_allclose((rows + circuit.unexplained)[wanted], 1, atol=1e-5)
        assert (circuit.edges.weight > 0).all()
        assert (circuit.edges.route == Route.FLOW).all()
        assert not circuit.expanded[circuit.nodes.of_kind(NodeKind.TOKEN)].any()
    # With nothing left out, importance is what flows down the rows.
    bias = whole.unexplained.max()
    if bias < 1e-6:
        np.testing.assert_allclose(
            influence(whole)[:-1] / whole.root_weights[0], whole.nodes.activation[:-1], atol=1e-4
        )


def test_more_than_one_word_is_refused(model) -> None:
    with pytest.raises(cs.CircuitScopeError, match="one position"):
        cs.trace(model, PROMPT, "information_flow", targets=cs.LogitDifference("Austin", "Texas"))
    with pytest.raises(cs.CircuitScopeError, match="least_share"):
        cs.trace(model, PROMPT, "information_flow", least_share=2.0)


def test_its_edges_predict_no_effects_but_its_nodes_are_tested_and_measured(model) -> None:
    circuit = cs.trace(model, PROMPT, "information_flow")
    with pytest.raises(cs.CircuitScopeError, match="no contributions"):
        cs.verify(model, circuit)
    heads = np.flatnonzero(circuit.nodes.of_kind(NodeKind.HEAD) & (circuit.nodes.position > 0))
    ((tested, _),) = cs.badges(model, circuit, heads[:1].tolist(), ablation="zero", draws=100)
    importance = float(circuit.nodes.activation[heads[0]])
    assert tested.predicted != pytest.approx(-importance)
    off = cs.Intervention("head_z", int(circuit.nodes.layer[heads[0]]),
                          head=int(circuit.nodes.unit[heads[0]]),
                          positions=[int(circuit.nodes.position[heads[0]])])  # fmt: skip
    frozen = model.run(PROMPT, [off]).logits, model.run(PROMPT).logits
    word = circuit.nodes.key(int(circuit.roots[0])).unit
    assert tested.effect == pytest.approx(float((frozen[0] - frozen[1])[-1, word]), abs=1e-4)
    found = cs.measure(model, circuit, level="node", ablation="mean", points=3)
    assert found.provenance.scores["size"] > 0


def test_figures_do_not_call_it_influence(model) -> None:
    circuit = cs.trace(model, PROMPT, "information_flow")
    text = svg_text(circuit_figure(circuit, {}, None, preset_named("screen"), PRINT))
    assert "information flow routes" in text
    assert "no effects on the answer" in text
    assert "influence" not in text
    assert "held fixed" not in text
