"""Measurements of circuits: what is kept is what the model computes; wired circuits are right."""

import numpy as np
import pytest

from circuitscope.core.errors import TraceError
from circuitscope.core.hypotheses import beyond, equivalence, independence
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import NodeKind
from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.core.settings import Logit, LogitDifference, TraceSettings
from circuitscope.tracing.measuring import measure
from circuitscope.tracing.method import trace
from circuitscope.tracing.node_bench import NodeBench
from circuitscope.tracing.relevance_circuit import discover, faithfulness

CLEAN = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"
METRIC = LogitDifference("Austin", "Sacramento")
PAIRS = [PromptPair(CLEAN, OTHER), PromptPair(OTHER, CLEAN)]


def test_edges_of_the_whole_model_are_faithful_and_random_ones_are_not(model):
    settings = TraceSettings(CLEAN, method="eap", targets=(METRIC,), corrupted=OTHER, max_nodes=8)
    circuit = trace(model, settings)
    found = measure(model, circuit, [PAIRS[0]])
    scores = found.provenance.scores
    expected = circuit.provenance.scores["faithfulness"]
    assert scores["faithfulness"] == pytest.approx(expected, abs=1e-3)
    assert found.curves["faithfulness"][0] == pytest.approx(0, abs=1e-5)
    assert found.curves["without them"][0] == pytest.approx(1, abs=1e-5)
    assert found.x[-1] == len(circuit.edges) == scores["size"]
    assert "found on" in found.provenance.remarks[0]
    assert 0 < scores["p_sufficiency"] <= 1
    assert scores["CMD"] >= 0
    assert len(found.provenance.settings["measured"]["minimality"]) == len(circuit.edges)
    split = measure(model, circuit, PAIRS)
    assert split.provenance.scores["n_prompts"] == 1
    assert "left out" in split.provenance.remarks[0]


def test_heads_as_nodes_agree_with_the_other_implementation(model):
    circuit = discover(model, [CLEAN], METRIC, n_heads=3, prune=False, ablation="zero")
    found = measure(model, circuit, level="node", ablation="zero", points=3)
    # Both keep the first position here only where the circuit's heads stand everywhere: this one
    # never changes it, so compare runs by hand.
    assert found.provenance.scores["whole"] == pytest.approx(
        circuit.provenance.scores["whole"], abs=1e-4
    )
    bench = NodeBench(model, circuit, "zero")
    task = bench.open(CLEAN, None, METRIC)
    heads = [(key.layer, key.unit) for key in bench.keys]
    n = bench.n_pos
    none = np.zeros((1, len(heads) + 1), bool)
    one = none.copy()
    one[0, 0] = True
    for choice, kept in ((none, ()), (one, heads[:1])):
        wishes = [
            Intervention("head_z", layer, head=head, positions=list(range(1, n)), mode="zero")
            for layer in range(model.anatomy.n_layers)
            for head in range(model.anatomy.n_heads)
            if (layer, head) not in kept
        ]
        logits = model.run(CLEAN, wishes).logits[-1]
        a, b = (model.find_token(word) for word in (METRIC.a, METRIC.b))
        assert bench.values(task, choice)[0] == pytest.approx(logits[a] - logits[b], abs=3e-5)
    assert faithfulness(model, circuit, [CLEAN], "zero") == pytest.approx(
        circuit.provenance.scores["faithfulness"], abs=1e-4
    )


@pytest.mark.parametrize("mlp", ["secant", "transcoder"])
def test_features_kept_and_taken_away(run, model, dictionaries, mlp):
    circuit = run(targets=(Logit("Austin"),), mlp=mlp, max_nodes=60)
    bench = NodeBench(model, circuit, "auto", dictionaries)
    task = bench.open(CLEAN, None, Logit("Austin"))
    every = np.ones((2, len(bench.keys) + 1), bool)
    at = next(k for k, key in enumerate(bench.keys) if key.kind is NodeKind.FEATURE)
    every[1, at] = False
    whole, less = bench.values(task, every)
    word = model.find_token("Austin")
    assert whole == pytest.approx(model.run(CLEAN).logits[-1, word], abs=1e-4)
    key = bench.keys[at]
    own = next(d for d in dictionaries if d.card.feature_site is key.site and
               key.layer in d.card.layers)  # fmt: skip
    off = Intervention(key.site, key.layer, positions=[key.position], feature=key.unit,
                       dictionary=own)  # fmt: skip
    assert less == pytest.approx(model.run(CLEAN, [off]).logits[-1, word], abs=1e-4)
    found = measure(model, circuit, level="node", dictionaries=dictionaries, points=4)
    assert len(found.x) == 4
    assert found.curves["without them"][0] == pytest.approx(1, abs=1e-5)
    assert "CPR" not in found.provenance.scores


def test_what_cannot_be_measured_is_refused(model):
    circuit = discover(model, [CLEAN], METRIC, n_heads=2, prune=False, ablation="zero")
    for options, words in (
        ({}, "no edges from words"),
        ({"level": "path"}, "no level"),
        ({"ablation": "none"}, "no ablation"),
        ({"prompts": []}, "no prompts"),
        ({"level": "node", "ablation": "resample"}, "corrupted partner"),
    ):
        with pytest.raises(TraceError, match=words):
            measure(model, circuit, **options)


def test_hypotheses_of_shi():
    random = np.random.default_rng(0)
    model = random.normal(size=40)
    assert equivalence(model, model) == 1
    assert equivalence(model + 0.1, model) < 0.01
    assert equivalence(model + random.choice([-0.1, 0.1], 40), model) > 0.05
    assert independence(model * 2 + 1, model, 200) < 0.02
    assert independence(random.normal(size=40), model, 200) > 0.05
    assert beyond([5, 0], [1, 2, 3]).tolist() == [0.25, 1.0]
