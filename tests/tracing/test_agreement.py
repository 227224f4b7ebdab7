"""A dictionary circuit is projected to heads as its edges are split, and compared by heads."""

from dataclasses import replace

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.errors import TraceError
from circuitscope.tracing.agreement import project_to_heads

PROMPT = "the capital of the state containing Dallas is"


def test_a_feature_gives_its_influence_to_heads_as_its_edges_split(run, model, dictionaries):
    circuit = run(targets=(cs.Logit("Austin"),))
    nodes = circuit.nodes
    features = nodes.of_kind(cs.NodeKind.FEATURE) & (nodes.site == cs.Site.ATTN_OUT)
    features &= nodes.layer == 1
    node = int(np.argmax(np.where(features, nodes.influence, -1)))
    only = replace(nodes, influence=np.where(np.arange(len(nodes)) == node, 1.0, 0.0))
    alone = replace(circuit, nodes=only)
    found, projected = project_to_heads(model, alone, dictionaries)
    assert found.sum() == pytest.approx(1)
    assert projected == 1
    # The same by hand: z of each head through W_O, read by the feature's encoder.
    parts = np.zeros(4)
    for edge in circuit.inputs(node):
        split = cs.split_by_head(circuit, model, edge, dictionaries)
        for (_, head), weight in split.by_head().items():
            parts[head] += weight
    assert np.allclose(found[1], np.abs(parts) / np.abs(parts).sum(), atol=1e-3)
    assert not found[0].any()


def test_agreement_compares_all_heads_of_one_prompt(run, model, dictionaries):
    circuit = run(targets=(cs.Logit("Austin"),))
    found = cs.agreement(model, circuit, dictionaries=dictionaries)
    assert [(row.layer, row.head) for row in found.heads] == list(np.ndindex(2, 4))
    assert -1 <= found.spearman <= 1
    assert 0 <= found.auc <= 1 or found.n_discovered in (0, 8)
    assert 0 < found.projected < 1
    heads = cs.discover(model, [PROMPT], cs.Logit("Austin"), ablation="zero", n_heads=3)
    again = cs.agreement(model, circuit, heads, dictionaries=dictionaries)
    assert again.n_discovered == len(heads.nodes) - 1
    relevance = [row.relevance for row in again.heads]
    assert relevance == pytest.approx([row.relevance for row in found.heads], rel=1e-3, abs=1e-5)
    assert {*again.only_contextual}.isdisjoint(again.top)
    assert all(not row.discovered for row in again.only_dictionary)


def test_heads_that_are_nodes_keep_their_influence(model):
    circuit = cs.trace(model, PROMPT, units="neurons", targets=["logit:Austin"], max_nodes=None)
    found, projected = project_to_heads(model, circuit)
    heads = circuit.nodes.of_kind(cs.NodeKind.HEAD)
    assert found.sum() == pytest.approx(float(circuit.nodes.influence[heads].sum()), rel=1e-5)
    assert projected == 1


def test_what_cannot_be_compared_is_refused(models, dictionaries, run):
    model = models["gpt2"]
    circuit = cs.trace(model, PROMPT, units="neurons", targets=["logit:Austin"], max_nodes=64)
    other = cs.discover(model, ["the capital"], cs.Logit("Austin"), ablation="zero", n_heads=2)
    with pytest.raises(TraceError, match="different prompts"):
        cs.agreement(model, circuit, other)
    with pytest.raises(TraceError, match="not one of contextual"):
        cs.agreement(model, circuit, circuit)
    with pytest.raises(TraceError, match="split by head"):
        cs.agreement(model, cs.discover(model, [PROMPT], cs.Logit("Austin"), ablation="zero"))
    score = cs.trace(model, PROMPT, units="neurons", targets=["score:1.0:8<-2"], max_nodes=64)
    with pytest.raises(TraceError, match="explains no word"):
        cs.agreement(model, score)
