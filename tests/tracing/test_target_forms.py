"""Targets in their short forms: words that name a direction, features named by layer and number."""

import numpy as np
import pytest

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import TargetNotFound
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Direction, Logit, LogitDifference
from circuitscope.core.target_text import parse_target
from circuitscope.models.prompts import find_token


def test_a_direction_of_words_is_the_sum_of_what_their_logits_read(run, model):
    words = parse_target("direction:Austin - Texas")
    circuit = run(targets=(words, LogitDifference("Austin", "Texas")), max_nodes=20)
    by_words, difference = circuit.preactivation[circuit.roots]
    assert by_words == pytest.approx(difference, abs=1e-4), "this model's logits have no bias"
    W_U, _ = model.family.unembed(model.module)
    ids = [find_token(model, word) for word in ("Austin", "Texas")]
    kept = circuit.provenance.settings["targets"][0]
    wanted = (W_U[:, ids[0]] - W_U[:, ids[1]]).detach().double().numpy()
    assert np.allclose(kept["vector"], wanted)
    again = run(targets=(Direction(tuple(kept["vector"]), kept["name"]),), max_nodes=20)
    assert again.preactivation[again.roots][0] == by_words
    with pytest.raises(TargetNotFound, match="Nowhere"):
        run(targets=(Direction((), "Austin - Nowhere"),))


def test_a_feature_is_named_by_its_layer_and_number(run):
    first = run(targets=(Logit(),), max_nodes=20)
    of_mlp = first.nodes.of_kind(NodeKind.FEATURE) & (first.nodes.site == Site.MLP_OUT)
    node = int(np.flatnonzero(of_mlp & (first.nodes.layer == 1))[0])
    key = first.nodes.key(node)
    circuit = run(targets=(parse_target(f"L1/#{key.unit}@{key.position}"),), max_nodes=20)
    assert circuit.nodes.key(int(circuit.roots[0])) == key
    with pytest.raises(TargetNotFound, match="explains features in layer 9"):
        run(targets=(parse_target("L9/#0"),))
