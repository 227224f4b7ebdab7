"""Why attention looked where it did, asked of attribution graphs: edges pass several layers."""

from dataclasses import replace
from pathlib import Path

import pytest

from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.engine.client import InProcessEngine
from circuitscope.engine.reasons import ExplainAttention
from circuitscope.engine.requests import ModelChoice, Trace
from circuitscope.session.jobs import JobQueue
from tests.sae_lens_writer import write_sae

PROMPT = "the capital of state containing Dallas is"


def test_an_edge_of_an_attribution_graph_is_split_and_its_score_explained(
    tmp_path: Path, tiny_gpt2: Path
) -> None:
    for layer in range(2):
        write_sae(tmp_path / f"t{layer}", "transcoder", layer, "jumprelu_transcoder", seed=layer)
    settings = TraceSettings(
        PROMPT, method="attribution", dictionaries=(str(tmp_path),), targets=(Logit("Austin"),),
    )  # fmt: skip
    model, queue = ModelChoice(str(tiny_gpt2), "cpu"), JobQueue(InProcessEngine())
    circuit = queue.wait(queue.add("trace", Trace(model, settings))).result
    edge = next(
        edge for edge in circuit.inputs(int(circuit.roots[0]))
        if edge.source.kind is NodeKind.TOKEN and edge.source.key.position == 3
    )  # fmt: skip
    ends = str(edge.source.key), str(edge.target.key), edge.weight
    again = replace(TraceSettings.from_json(circuit.provenance.settings), prompt=circuit.token_ids)
    job = queue.wait(queue.add("why", ExplainAttention(model, again, edge=ends)))
    assert job.state == "done", job.error
    found = job.result
    total = sum(part.weight for part in found.parts) + found.direct
    assert total == pytest.approx(edge.weight, rel=1e-4, abs=1e-6)
    assert {part.layer for part in found.parts} == {0, 1}
    assert found.direct == 0, "a word elsewhere reaches the last position by attention alone"
    best = found.parts[0]
    assert (found.score.layer, found.score.head, found.score.key) == (
        best.layer, best.head, best.key,
    )  # fmt: skip
    assert found.pairs
