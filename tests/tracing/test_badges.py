"""Badges: the rules, and tests on tiny real models against plain interventions."""

import json

import numpy as np
import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.badges import Badge, Outcome, adjusted, badge_of
from circuitscope.core.badges import badges as badges_of
from circuitscope.core.errors import TraceError
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Logit, LogitDifference, TraceSettings
from circuitscope.models.capture import capture
from circuitscope.models.rerun import OUTPUT, open_stream, rerun
from circuitscope.tracing.badges import badges, main_root
from circuitscope.tracing.method import trace

PROMPT = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"


def outcome(predicted: float, effect: float, p: float) -> Outcome:
    return Outcome("node", ("a",), "r", "zero", predicted, effect, 1.0, p, 200)


@pytest.mark.parametrize(
    ("predicted", "effect", "q", "badge"),
    [
        (-2.0, -1.5, 0.01, Badge.SUPPORTED),
        (-2.0, +1.5, 0.01, Badge.CONTRADICTED),
        (-2.0, -0.1, 0.60, Badge.COMPENSATED),
        (-0.5, -0.1, 0.60, Badge.INCONCLUSIVE),
        (0.0, -1.5, 0.01, Badge.INCONCLUSIVE),
    ],
)
def test_every_badge_has_its_rule(predicted, effect, q, badge):
    assert badge_of(outcome(predicted, effect, q), q) is badge


def test_p_values_are_corrected_as_benjamini_and_hochberg_did():
    p = [0.01, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(adjusted(p), [0.02, 0.04, 0.04, 0.02])
    assert adjusted([]).size == 0
    # Alone beyond the controls, among twenty others no longer.
    one = outcome(-2, -2, 0.02)
    assert badges_of([one]) == (Badge.SUPPORTED,)
    assert badges_of([one] + [outcome(-2, -0.1, 0.9)] * 20)[0] is Badge.COMPENSATED


def test_results_come_back_from_json(run, model, dictionaries):
    circuit = run(units="neurons", max_nodes=60)
    found = badges(model, circuit, draws=100)[0]
    assert Outcome.from_json(json.loads(json.dumps(found.as_json()))) == found
    heads = circuit.nodes.of_kind(NodeKind.HEAD) & (circuit.nodes.position > 0)
    head = int(np.flatnonzero(heads)[0])
    ids, other = (tuple(model.prompt(text).token_ids) for text in (PROMPT, OTHER))
    for options, told in (
        ({"counterfactual": OTHER}, (other, ())),
        ({"means": (PROMPT, OTHER)}, ((), (ids, other))),
        ({"counterfactual": OTHER, "ablation": "mean"}, ((), ())),
    ):
        found = badges(model, circuit, [head], draws=100, **options)[0]
        assert (found.counterfactual, found.means) == told
        assert Outcome.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_copies_that_start_in_the_middle_equal_whole_runs(model):
    stream = open_stream(model, model.prompt(PROMPT).token_ids)
    step = torch.randn(3, model.anatomy.d_model, generator=torch.Generator().manual_seed(0))

    def change(rows: torch.Tensor) -> None:
        rows[:, 5] += step

    for place in ((Site.MLP_OUT, 1), (Site.ATTN_OUT, 0), (Site.EMBED, 0)):
        found = rerun(stream, {place: change}, (OUTPUT,), 3)[OUTPUT]
        for copy in range(3):
            wish = Intervention(place[0], place[1], positions=[5], mode="add", value=step[copy])
            plain = model.run(PROMPT, [wish]).logits
            np.testing.assert_allclose(found[copy].numpy(), plain, atol=2e-5)
    assert not any("forward" in module.__dict__ for module in model.module.modules())


def test_effects_equal_plain_interventions(run, model, dictionaries):
    circuit = run(targets=(Logit("Austin"), Logit("Texas")), max_nodes=200)
    root = main_root(circuit)
    key = circuit.nodes.key(root)
    able = circuit.nodes.position > 0
    feature = int(np.flatnonzero(circuit.nodes.of_kind(NodeKind.FEATURE) & able)[0])
    token = int(
        np.flatnonzero(circuit.nodes.of_kind(NodeKind.TOKEN) & (circuit.nodes.position == 7))[0]
    )
    found = badges(model, circuit, [feature, token], draws=100, dictionaries=dictionaries,
                   counterfactual=OTHER)  # fmt: skip
    name = circuit.nodes.key(feature)
    own = next(d for d in dictionaries if d.card.feature_site is name.site and
           name.layer in d.card.layers)  # fmt: skip
    off = Intervention(name.site, name.layer, positions=[name.position], feature=name.unit,
                       dictionary=own)  # fmt: skip
    at = circuit.nodes.key(token).position
    swap = Intervention(Site.EMBED, positions=[at], mode="swap", value=OTHER)
    plain = model.run(PROMPT).logits[key.position]
    for one, wish in zip(found, (off, swap), strict=True):
        changed = model.run(PROMPT, [wish]).logits[key.position]
        assert one.effect == pytest.approx(changed[key.unit] - plain[key.unit], abs=3e-5)
        chances = torch.softmax(torch.tensor(np.stack([plain, changed])).double(), -1)
        assert one.chances == pytest.approx(chances[:, key.unit].tolist(), abs=1e-6)
        assert one.n == 100
        assert 0 < one.p <= 1
        assert one.band > 0
    assert [one.ablation for one in found] == ["zero", "counterfactual"]


def test_heads_take_the_other_prompts_value_and_the_frozen_model_predicts(run, model):
    circuit = run(units="neurons", targets=(LogitDifference("Austin", "Texas"),), max_nodes=None)
    heads = np.flatnonzero(circuit.nodes.of_kind(NodeKind.HEAD) & (circuit.nodes.position == 8))
    key = circuit.nodes.key(int(heads[-1]))
    assert key.layer == 1
    found = badges(model, circuit, [key], draws=100, counterfactual=OTHER)[0]
    wish = Intervention(Site.HEAD_Z, key.layer, head=key.unit, positions=[8], mode="swap",
                        value=OTHER)  # fmt: skip
    a, b = model.find_token("Austin"), model.find_token("Texas")
    plain, changed = model.run(PROMPT).logits[-1], model.run(PROMPT, [wish]).logits[-1]
    assert found.effect == pytest.approx(
        (changed[a] - changed[b]) - (plain[a] - plain[b]), abs=3e-5
    )
    frozen = model.run(PROMPT, [wish], freeze=["patterns", "norms"]).logits[-1]
    # Only the last MLP's gates differ between the two kinds of freezing.
    gates = abs((frozen[a] - frozen[b]) - (plain[a] - plain[b]) - found.predicted)
    assert gates < 0.5 * abs(found.predicted) + 0.1
    assert found.chances == (-1.0, -1.0)


def test_edges_and_groups_are_tested_as_such(run, model, dictionaries):
    circuit = run(targets=(Logit("Austin"),), mlp="transcoder", max_nodes=300)
    root = main_root(circuit)
    edges = circuit.edges
    fits = (circuit.nodes.position[edges.source] > 0) & (edges.target != root)
    fits &= circuit.nodes.of_kind(NodeKind.FEATURE)[edges.source]
    fits &= circuit.nodes.of_kind(NodeKind.FEATURE)[edges.target]
    edge = int(np.flatnonzero(fits)[0])
    features = np.flatnonzero(circuit.nodes.of_kind(NodeKind.FEATURE))
    members = features[:3].tolist() + features[circuit.nodes.position[features] > 0][:4].tolist()
    by_edge, group = badges(model, circuit, edges=[edge], groups=[members],
                            dictionaries=dictionaries, draws=100)  # fmt: skip
    assert by_edge.kind == "edge"
    assert by_edge.predicted == pytest.approx(-edges.weight[edge])
    source, target = (circuit.nodes.key(int(end[edge])) for end in (edges.source, edges.target))
    assert by_edge.subject == (str(source), str(target))
    # The target reads what a run without the source gives it.
    own = {(d.card.feature_site, d.card.layers[0]): d for d in dictionaries}
    off = Intervention(source.site, source.layer, positions=[source.position],
                       feature=source.unit, dictionary=own[source.site, source.layer])  # fmt: skip
    reads = own[target.site, target.layer]
    before, after = (
        reads.preactivations(
            model.run(PROMPT, wishes).cache.site(reads.card.read_site, target.layer)
        )[target.position, target.unit]
        for wishes in ((), (off,))
    )
    assert by_edge.effect == pytest.approx(float(after - before), abs=1e-4)
    first = [m for m in members if circuit.nodes.position[m] == 0]
    assert len(group.subject) == len(set(members))
    assert any("first position" in remark for remark in group.remarks) == bool(first)


def test_controls_are_the_same_whatever_else_is_asked(run, model, dictionaries):
    circuit = run(targets=(Logit("Austin"),), max_nodes=200)
    able = np.flatnonzero(circuit.nodes.of_kind(NodeKind.FEATURE) & (circuit.nodes.position > 0))
    alone = badges(model, circuit, able[:1].tolist(), draws=100, dictionaries=dictionaries)
    both = badges(model, circuit, able[:2].tolist(), draws=100, dictionaries=dictionaries)
    assert alone[0] == both[0]
    other = badges(model, circuit, able[:1].tolist(), draws=100, dictionaries=dictionaries, seed=1)
    assert other[0].effect == alone[0].effect
    assert other[0].band != alone[0].band


def test_what_cannot_be_tested_is_refused(run, model, dictionaries):
    circuit = run(units="neurons", max_nodes=100)
    root, first = int(circuit.roots[0]), "token/embed/-1/0/1"
    for nodes, words in (([root], "cannot be switched off"), ([first], "first position")):
        with pytest.raises(TraceError, match=words):
            badges(model, circuit, nodes)
    for options, words in (
        ({"draws": 10}, "too few"),
        ({"ablation": "resample"}, "needs a counterfactual"),
        ({"ablation": "nothing"}, "no ablation"),
        ({"counterfactual": "the capital"}, "has 3 tokens"),
        ({"root": "token/embed/-1/2/4"}, "no root|no node"),
    ):
        with pytest.raises(TraceError, match=words):
            badges(model, circuit, **options)


def test_a_wired_circuit_is_supported(hand_wired):
    # The head copies what only the key writes; without it the logit falls by all of the edge.
    settings = TraceSettings((0, 3, 1, 2), targets=(Logit(5),), units="neurons", max_nodes=None)
    circuit = trace(hand_wired, settings)
    head = "head/head_z/0/3/0"
    found = badges(hand_wired, circuit, [head], ablation="zero", draws=100)[0]
    assert found.predicted < -0.5
    assert found.effect < -0.5
    assert any("Zero" in remark for remark in found.remarks)
    assert capture(hand_wired, (0, 3, 1, 2)).n_pos == 4
