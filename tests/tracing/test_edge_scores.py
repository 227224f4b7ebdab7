"""Edges between heads and MLPs: runs equal the model, scores equal patching where they must."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TraceError
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import LogitDifference, TraceSettings
from circuitscope.tracing.edge_scores import eap, eap_ig, open_task, patched, patched_parts
from circuitscope.tracing.method import trace

CLEAN = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"
METRIC = LogitDifference("Austin", "Sacramento")


@pytest.fixture
def task(model):
    return open_task(model, CLEAN, METRIC, OTHER)


def difference(model, logits) -> float:
    a, b = (model.find_token(word) for word in (METRIC.a, METRIC.b))
    return float(logits[-1, a] - logits[-1, b])


def test_all_edges_kept_is_the_model_and_none_is_the_other_prompt(model, task):
    assert task.whole == pytest.approx(difference(model, model.run(CLEAN).logits), abs=2e-5)
    assert task.empty == pytest.approx(difference(model, model.run(OTHER).logits), abs=2e-5)
    parts = task.parts
    shape = parts.n_readers, parts.n_writers, len(task.ids)
    every, none = torch.ones(shape), torch.zeros(shape)
    assert task.values([every, none]) == pytest.approx([task.whole, task.empty], abs=2e-5)


def test_a_part_without_all_its_edges_is_a_part_swapped(model, task):
    found = patched_parts(task)
    for layer, head in ((0, 0), (1, 1)):
        wish = Intervention(Site.HEAD_Z, layer, head=head, mode="swap", value=OTHER)
        effect = task.whole - difference(model, model.run(CLEAN, [wish]).logits)
        assert float(found[task.parts.writer(layer, head)]) == pytest.approx(effect, abs=5e-5)
    wish = Intervention(Site.MLP_OUT, 0, mode="swap", value=OTHER)
    effect = task.whole - difference(model, model.run(CLEAN, [wish]).logits)
    assert float(found[task.parts.writer(0, -1)]) == pytest.approx(effect, abs=5e-5)


def test_eap_is_the_slope_of_patching(model):
    # As the two runs come near each other, the first order is all there is.
    task = open_task(model, CLEAN, METRIC, OTHER)
    near = task.own + 1e-3 * (task.other - task.own)
    small = type(task)(task.meter, task.ids, task.own, near, task.whole, task.empty, task.words)
    scores = eap(small).sum(-1)
    edges = np.argwhere(task.parts.edges().numpy())
    chosen = np.random.default_rng(0).permutation(edges)[:25].tolist()
    with torch.no_grad():
        exact = np.array(patched(small, [(r, w, -1) for r, w in chosen]))
    found = np.array([float(scores[r, w]) for r, w in chosen])
    assert np.abs(exact - found).max() < 0.05 * np.abs(found).max() + 3e-6


def test_integrated_gradients_add_up_for_the_input(task):
    # Over many steps the edges that leave the embedding make the whole difference of the inputs.
    scores = eap_ig(task, steps=64)
    start = task.own[0]
    changed = scores[:, 0].sum()
    assert float(changed) == pytest.approx(task.whole - task.empty, rel=0.1, abs=0.02)
    assert eap(task).shape == (task.parts.n_readers, task.parts.n_writers, len(start))


def test_prompts_of_other_lengths_are_refused(model):
    with pytest.raises(TraceError, match="has 3 tokens"):
        open_task(model, CLEAN, METRIC, "the capital")


def test_circuits_of_edges_say_how_faithful_they_are(model):
    settings = TraceSettings(CLEAN, method="eap_ig", targets=(METRIC,), corrupted=OTHER)
    every = trace(model, settings)
    scores = every.provenance.scores
    assert scores["faithfulness"] == pytest.approx(1, abs=1e-3)
    # The word that differs is not the last one, so the logits and the last MLP do not read it.
    parts = open_task(model, CLEAN, METRIC, OTHER).parts
    assert len(every.edges) == int(parts.edges()[:, 1:].sum()) + parts.n_readers - 2
    few = trace(model, replace(settings, max_nodes=4))
    assert len(few.edges) <= 16
    assert few.provenance.scores["faithfulness"] != pytest.approx(1, abs=1e-3)
    kinds = {NodeKind(int(kind)) for kind in every.nodes.kind}
    assert kinds == {NodeKind.TOKEN, NodeKind.HEAD, NodeKind.NEURON, NodeKind.LOGIT}
    assert TraceSettings.from_json(settings.as_json()) == settings
    # What path patching says of an edge into the logits is what the metric loses without it.
    exact = trace(model, replace(settings, method="path_patching"))
    task = open_task(model, CLEAN, METRIC, OTHER)
    into = np.flatnonzero(exact.edges.target == exact.roots[0])
    head = exact.nodes.of_kind(NodeKind.HEAD)[exact.edges.source[into]]
    edge = int(into[head][0])
    key = exact.nodes.key(int(exact.edges.source[edge]))
    writer = task.parts.writer(key.layer, key.unit)
    lost = patched(task, [(task.parts.logits, writer, -1)])[0]
    assert exact.edges.weight[edge] == pytest.approx(lost, abs=1e-4)


def test_classifiers_and_several_targets_are_refused(model):
    settings = TraceSettings(CLEAN, method="eap", targets=(METRIC, METRIC))
    with pytest.raises(TraceError, match="one logit, difference or direction"):
        trace(model, settings)
