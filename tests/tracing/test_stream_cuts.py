"""Dictionaries of the residual stream cut it: every path passes through them, and rows add up."""

import numpy as np
import pytest
from sae_lens_writer import write_sae, write_set

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import DictionaryMismatch
from circuitscope.core.keys import NodeKind
from circuitscope.core.settings import AttentionScore, Feature, Logit, TraceSettings
from circuitscope.dictionaries.format import DictionarySet, load_dictionaries
from circuitscope.graph.influence import stages
from circuitscope.models.loading import load_model
from circuitscope.tracing.attention_table import attention_table
from circuitscope.tracing.method import trace
from circuitscope.tracing.verify import verify
from tests.conformance.variants import IDS, VARIANTS, make_folder

PROMPT = "the capital of the state containing Dallas is"
CUTS = {
    "neurons": ([("post", 0)], {}),
    "mixed": ([("post", 0)], {"with": True}),
    "mid": ([("mid", 1)], {"with": True, "mlp": "transcoder"}),
    "all": ([("pre", 0), ("mid", 0), ("post", 0), ("mid", 1), ("post", 1)], {}),
    "features": ([("pre", 0), ("post", 0), ("post", 1)], {"units": "features"}),
    "features-mid": ([("mid", 0)], {"units": "features"}),
    "features-mixed": ([("post", 0)], {"units": "features", "with": True}),
}
TARGETS = (Logit("Austin"), AttentionScore(1, 1, 8, 4))


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that gives dictionaries of the stream, the modules' after them if asked."""
    root = tmp_path_factory.mktemp("stream")
    written: dict[str, object] = {}

    def load(name: str) -> DictionarySet:
        if name not in written:
            places, more = CUTS[name]
            paths = [
                write_sae(root / name / f"{at}_{layer}", f"resid_{at}_sae", layer, seed=11 + index)
                for index, (at, layer) in enumerate(places)
            ]
            written[name] = load_dictionaries(
                [*paths, *([write_set(root / name / "set")] if "with" in more else [])]
            )
        return written[name]

    return load


def settings_of(name: str, **more: object) -> TraceSettings:
    chosen = {key: value for key, value in CUTS[name][1].items() if key != "with"}
    return TraceSettings(PROMPT, **{"targets": TARGETS, "max_nodes": None, **chosen, **more})


def missed(circuit: Circuit) -> float:
    n = len(circuit.nodes)
    weight = circuit.edges.weight.astype(np.float64)
    total = np.bincount(circuit.edges.target, weight, minlength=n)
    size = np.bincount(circuit.edges.target, np.abs(weight), minlength=n)
    miss = np.abs(circuit.preactivation - total - circuit.unexplained)
    return float((miss / np.maximum(size, 1e-30))[circuit.expanded].max())


@pytest.mark.parametrize("name", CUTS)
def test_rows_add_up_and_no_edge_jumps_over_a_cut(model, stream, name):
    circuit = trace(model, settings_of(name), stream(name))
    assert missed(circuit) < 1e-4
    order, cuts = stages(circuit.nodes), []
    for at, layer in CUTS[name][0]:
        cuts.append(4 * layer + {"pre": 0, "mid": 2, "post": 4}[at])
        site = Site.parse(f"resid_{at}")
        here = (circuit.nodes.site == site) & (circuit.nodes.layer == layer)
        features = here & circuit.nodes.of_kind(NodeKind.FEATURE)
        assert features.any()
        assert circuit.expanded[features].all()
        assert (here & circuit.nodes.of_kind(NodeKind.ERROR)).sum() == len(circuit.tokens)
    source, target = order[circuit.edges.source], order[circuit.edges.target]
    written = ~circuit.nodes.of_kind(NodeKind.BIAS)[circuit.edges.source]
    assert (source < target)[written].all()
    for cut in cuts:
        assert not ((source < cut) & (target > cut))[written].any()


@pytest.mark.parametrize("name", CUTS)
def test_edges_equal_what_the_frozen_module_does(model, stream, name):
    circuit = trace(model, settings_of(name), stream(name))
    size = np.abs(circuit.preactivation[circuit.edges.target]) + 1
    able = np.abs(circuit.edges.weight) > 1e-3 * size
    edges = np.random.default_rng(0).permutation(np.flatnonzero(able))[:200]
    found = verify(model, circuit, edges=edges, dictionaries=stream(name))
    size = np.abs(circuit.preactivation[found.targets]) + 1
    assert len(found.edges) == len(edges) >= 60
    assert (np.abs(found.measured - found.predicted) / size).max() < 2e-5
    stream_sites = [Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST]
    assert np.isin(circuit.nodes.site[found.sources], stream_sites).any()
    assert np.isin(circuit.nodes.site[found.targets], stream_sites).any()


def test_with_features_alone_edges_join_neighbouring_cuts(model, stream):
    circuit = trace(model, settings_of("features"), stream("features"))
    kinds = {NodeKind(int(kind)) for kind in circuit.nodes.kind}
    assert not kinds & {NodeKind.HEAD, NodeKind.NEURON}
    last = int(np.flatnonzero(circuit.nodes.site == Site.RESID_POST)[-1])
    top = (circuit.nodes.site == Site.RESID_POST) & (circuit.nodes.layer == 1)
    roots = circuit.edges.target == circuit.roots[0]
    bias = circuit.nodes.of_kind(NodeKind.BIAS)
    assert (top | bias)[circuit.edges.source[roots]].all()
    assert top[last]


def test_a_feature_of_the_stream_can_be_the_target(model, stream):
    whole = trace(model, settings_of("neurons"), stream("neurons"))
    active = whole.nodes.of_kind(NodeKind.FEATURE) & (whole.nodes.position == 7)
    key = whole.nodes.key(int(np.flatnonzero(active)[0]))
    target = Feature("resid_post", 0, key.unit, 7)
    circuit = trace(model, settings_of("neurons", targets=(target,)), stream("neurons"))
    assert circuit.nodes.key(int(circuit.roots[0])) == key
    assert missed(circuit) < 1e-4


def test_pairs_behind_a_score_begin_at_the_cut(model, stream):
    table = attention_table(model, settings_of("neurons"), TARGETS[1], stream("neurons"))
    assert table.values.sum() == pytest.approx(table.provenance.scores["score"], abs=1e-5)
    assert not any(tick.startswith(("token", "neuron/mlp_hidden/0")) for tick in table.ticks[0])
    assert any(tick.startswith("feature/resid_post/0/8/") for tick in table.ticks[0])


def test_modules_side_by_side_pass_effects_on_to_the_same_cut(tmp_path):
    """In parallel blocks nothing passes both modules of a layer, and nothing lies between."""
    folder = make_folder(tmp_path / "model", *VARIANTS["gpt-neox"])
    model = load_model(folder, "cpu")
    for at, layer in (("pre", 1), ("post", 1)):
        write_sae(tmp_path / "set" / f"{at}{layer}", f"resid_{at}_sae", layer, d=24, seed=layer)
    settings = TraceSettings(tuple(IDS), targets=(Logit(9),), units="features", max_nodes=None)
    found = load_dictionaries(tmp_path / "set")
    circuit = trace(model, settings, found)
    assert missed(circuit) < 1e-5
    able = np.abs(circuit.edges.weight) > 1e-3 * (1 + np.abs(circuit.preactivation).max())
    edges = np.random.default_rng(0).permutation(np.flatnonzero(able))[:100]
    measured = verify(model, circuit, edges=edges, dictionaries=found)
    size = np.abs(circuit.preactivation[measured.targets]) + 1
    assert (np.abs(measured.measured - measured.predicted) / size).max() < 2e-5
    between = load_dictionaries(write_sae(tmp_path / "mid", "resid_mid_sae", 1, d=24))
    with pytest.raises(DictionaryMismatch, match="nothing lies between"):
        trace(model, settings, between)


def test_one_place_of_the_stream_is_explained_once(model, tmp_path):
    paths = [
        write_sae(tmp_path / "post", "resid_post_sae", 0),
        write_sae(tmp_path / "pre", "resid_pre_sae", 1),
    ]
    circuit = trace(model, TraceSettings(PROMPT), load_dictionaries(paths))
    sites = {Site(int(site)) for site in circuit.nodes.site}
    assert len(sites & {Site.RESID_PRE, Site.RESID_POST}) == 1
    assert any("already explains that place" in text for text in circuit.provenance.remarks)
