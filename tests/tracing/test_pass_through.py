"""The walk over many layers, attention passing effects on, against circuit-tracer's numbers.

Golden graphs: tests/data/golden/attribution (circuit-tracer 0.4.1, float32). Its conventions leave
out what position 0's MLP writes and all constants, and subtract the mean over the vocabulary from
logits; edges between the nodes that both have must agree.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Direction, TraceSettings
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.features import encode_prompt
from circuitscope.models.capture import capture
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.loading import load_model
from circuitscope.tracing.assemble import conserve
from circuitscope.tracing.backward_walk import BackwardWalk
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.read_points import ReadPoints
from circuitscope.tracing.targets import explained_rows, find_roots
from circuitscope.tracing.writers import collect_sources

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "attribution"


def transcoders(case: Path) -> list[Dictionary]:
    found = []
    for layer in range(4):
        path = case / "transcoders" / f"layer_{layer}.safetensors"
        t = load_file(path)
        card = DictionaryCard(
            f"t{layer}", "golden", str(path), "", Site.MLP_IN, Site.MLP_OUT, (layer,),
            64, 64, len(t["b_enc"]),
        )  # fmt: skip
        weights = DictionaryWeights(t["W_enc"].T, t["b_enc"], t["W_dec"], t["b_dec"])
        found.append(Dictionary(card, weights))
    return found


@pytest.mark.parametrize("name", ["llama_relu", "gpt2_relu"])
@pytest.mark.parametrize("graph", ["p0", "p1"])
def test_edges_over_many_layers_equal_the_reference(name, graph):
    case = GOLDEN / name
    golden = np.load(case / f"graph_{graph}.npz")
    assert "relu" in json.loads((case / "meta.json").read_text())["case"]
    model = load_model(case / "model", device="cpu")
    ids = tuple(int(token) for token in golden["input_tokens"])
    W_U, _ = model.family.unembed(model.module)
    centred = (W_U - W_U.mean(1, keepdim=True)).detach()
    targets = tuple(
        Direction(tuple(centred[:, token].tolist()), f"logit {token}")
        for token in golden["logit_token_ids"].tolist()
    )
    settings = TraceSettings(ids, targets=targets, mlp="transcoder", max_nodes=None)
    dictionaries = transcoders(case)
    with torch.no_grad():
        plan = replace(make_plan(model.anatomy, dictionaries, settings), through=True)
        cache = capture(model, ids)
        frozen = FrozenModel(model, cache)
        sources = collect_sources(frozen, plan, encode_prompt(plan.dictionaries, cache))
        explained = explained_rows(find_roots(frozen, plan, settings), sources)
        walk = BackwardWalk(frozen, sources, explained, ReadPoints(frozen, plan, explained))
        rows = walk.rows(np.arange(len(explained)), 64)

    miss = conserve(explained.preactivation, rows, np.zeros(len(rows)))
    assert miss.max() < 2e-6

    nodes, c = golden["nodes"], sources.columns
    kinds = {0: NodeKind.FEATURE, 1: NodeKind.ERROR, 2: NodeKind.TOKEN}
    places = {key: i for i, key in enumerate(zip(c.kind, c.layer, c.position, c.unit, strict=True))}
    column = np.full(len(nodes), -1)
    for index, (kind, layer, position, unit) in enumerate(nodes.tolist()):
        if kind in kinds and not (kind == 1 and position == 0):
            at = -1 if kind == 2 else layer
            unit = ids[position] if kind == 2 else unit
            column[index] = places[int(kinds[kind]), at, position, unit]
    of_column = {int(at): row for row, at in enumerate(explained.column) if at >= 0}
    row_of = [of_column[column[i]] for i in np.flatnonzero(nodes[:, 0] == 0)]
    row_of = [*row_of, *range(len(targets))]
    expanded = np.flatnonzero(np.isin(nodes[:, 0], (0, 3)))
    shared = np.flatnonzero(column >= 0)
    wanted = golden["adjacency"][np.ix_(expanded, shared)]
    found = rows[np.ix_(row_of, column[shared])]
    largest = np.abs(wanted).max(1, keepdims=True)
    assert (np.abs(found - wanted) / largest).max() < 2e-5
