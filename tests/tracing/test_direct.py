"""The direct method: rows add up, are what they should be, and come out the same every time."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import (
    Cancelled,
    DictionaryMismatch,
    NothingActive,
    OutOfMemory,
    PromptError,
    TargetNotFound,
    TraceError,
)
from circuitscope.core.keys import BiasUnit, NodeKind
from circuitscope.core.progress import silent
from circuitscope.core.settings import (
    Direction,
    Feature,
    Logit,
    LogitDifference,
    TraceSettings,
)
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.tracing.assemble import conserve
from circuitscope.tracing.method import trace

PROMPT = "the capital of the state containing Dallas is"
MODES = [
    {"mlp": "secant"}, {"mlp": "transcoder"}, {"units": "neurons"}, {"units": "features"},
]  # fmt: skip


def rebuilt(circuit: Circuit) -> np.ndarray:
    """Return conservation anew from the circuit's own arrays, [n]."""
    n = len(circuit.nodes)
    weight = circuit.edges.weight.astype(np.float64)
    total = np.bincount(circuit.edges.target, weight, minlength=n)
    size = np.bincount(circuit.edges.target, np.abs(weight), minlength=n)
    left = circuit.unexplained.astype(np.float64)
    miss = np.abs(circuit.preactivation - total - left)
    return np.where(circuit.expanded, miss / np.maximum(size + np.abs(left), 1e-30), 0)


@pytest.mark.parametrize("gated", ["half", "through_u", "gradient"])
@pytest.mark.parametrize("mode", MODES, ids=["secant", "transcoder", "neurons", "features"])
@pytest.mark.parametrize("max_nodes", [None, 30])
def test_every_expanded_row_adds_up(run, mode, gated, max_nodes):
    circuit = run(gated=gated, max_nodes=max_nodes, **mode)
    units = circuit.nodes.of_kind(NodeKind.FEATURE, NodeKind.HEAD, NodeKind.NEURON)
    assert circuit.expanded[units].all()
    assert circuit.expanded[circuit.roots].all()
    assert not circuit.expanded[~units & ~circuit.nodes.of_kind(NodeKind.LOGIT)].any()
    assert rebuilt(circuit).max() < 2e-6
    np.testing.assert_allclose(circuit.conservation, rebuilt(circuit), atol=1e-6)
    if max_nodes is None:
        assert not circuit.unexplained.any()
    else:
        assert units.sum() == max_nodes
        assert circuit.unexplained.any()


def test_preactivations_come_from_the_forward_pass(run, model, dictionaries):
    circuit = run()
    ids = torch.tensor([circuit.token_ids])
    logits = model.module(input_ids=ids).logits[0]
    for node in np.flatnonzero(circuit.nodes.of_kind(NodeKind.LOGIT)):
        key = circuit.nodes.key(node)
        assert circuit.preactivation[node] == pytest.approx(
            float(logits[key.position, key.unit]), rel=1e-5
        )
    assert {circuit.nodes.key(root).layer for root in circuit.roots} == {2}


def test_top_logits_reach_the_mass_and_weigh_as_their_probability(run):
    circuit = run(targets=(Logit(),), logit_mass=0.5, units="neurons", max_nodes=16)
    assert circuit.root_weights.sum() >= 0.5
    assert circuit.root_weights[:-1].sum() < 0.5
    few = run(targets=(Logit(),), max_logits=2, units="neurons", max_nodes=16)
    assert len(few.roots) == 2


def test_a_difference_is_one_root_whose_row_is_the_difference_of_rows(run, model):
    both = run(targets=(Logit("Austin"), Logit("Texas"), LogitDifference("Austin", "Texas")))
    a, b, difference = both.roots
    n = len(both.nodes)

    def row(node: int) -> np.ndarray:
        here = both.edges.into(int(node))
        return np.bincount(both.edges.source[here], both.edges.weight[here], minlength=n)

    np.testing.assert_allclose(row(a) - row(b), row(difference), atol=1e-5)
    pre = both.preactivation
    assert pre[difference] == pytest.approx(pre[a] - pre[b], abs=1e-5)
    unit, size = int(both.nodes.unit[difference]), model.anatomy.d_vocab
    assert unit % size == both.nodes.unit[a]
    assert unit // size - 1 == both.nodes.unit[b]
    assert both.labels[difference] == "Austin − Texas"


def test_a_direction_reads_the_last_norm(run, model):
    vector = tuple(np.linspace(-1, 1, 16))
    circuit = run(targets=(Direction(vector, "ramp"),), max_nodes=20)
    assert circuit.labels[circuit.roots[0]] == "ramp"
    assert rebuilt(circuit).max() < 2e-6
    with pytest.raises(TargetNotFound, match="3 entries"):
        run(targets=(Direction((1.0, 2.0, 3.0), "short"),))


def test_a_feature_can_be_the_target(run):
    whole = run()
    active = np.flatnonzero(whole.nodes.of_kind(NodeKind.FEATURE) & (whole.nodes.layer == 1))
    key = whole.nodes.key(active[-1])
    circuit = run(targets=(Feature(key.site, 1, key.unit, key.position),))
    root = int(circuit.roots[0])
    assert circuit.nodes.key(root) == key
    assert circuit.preactivation[root] == whole.preactivation[active[-1]]
    assert len(set(map(str, map(circuit.nodes.key, range(len(circuit.nodes)))))) == len(
        circuit.nodes
    )


def test_an_inactive_feature_is_explained_too(run):
    whole = run()
    at = whole.nodes.of_kind(NodeKind.FEATURE) & (whole.nodes.site == Site.MLP_OUT)
    at &= (whole.nodes.layer == 1) & (whole.nodes.position == 8)
    silent_unit = min(set(range(24)) - set(whole.nodes.unit[at].tolist()))
    circuit = run(targets=(Feature("mlp_out", 1, silent_unit),))
    root = int(circuit.roots[0])
    assert circuit.nodes.activation[root] == 0
    assert rebuilt(circuit).max() < 2e-6


def test_sources_of_every_kind_are_nodes(run, model):
    circuit = run()
    kinds = {NodeKind(int(kind)) for kind in circuit.nodes.kind}
    expected = {NodeKind.TOKEN, NodeKind.FEATURE, NodeKind.ERROR, NodeKind.LOGIT, NodeKind.BIAS}
    if model.anatomy.positions == "learned":
        expected.add(NodeKind.POSITION)
    assert kinds == expected
    errors = circuit.nodes.of_kind(NodeKind.ERROR)
    assert errors.sum() == 2 * 2 * len(circuit.tokens)
    biases = circuit.nodes.of_kind(NodeKind.BIAS)
    assert set(circuit.nodes.position[biases]) == {-1}
    found = {BiasUnit(int(unit)) for unit in circuit.nodes.unit[biases]}
    assert {BiasUnit.ENCODER, BiasUnit.DECODER} <= found
    if model.anatomy.architecture == "GPT2LMHeadModel":
        assert {BiasUnit.MODULE, BiasUnit.NORM} <= found


def test_sources_come_before_their_targets(run):
    circuit = run(mlp="transcoder")
    from circuitscope.graph.influence import stages

    stage = stages(circuit.nodes)
    assert (stage[circuit.edges.source] < stage[circuit.edges.target]).all()


def test_the_strongest_are_kept(run):
    whole, few = run(targets=(Logit(),)), run(targets=(Logit(),), max_nodes=25, batch_size=2)
    units = np.flatnonzero(whole.nodes.of_kind(NodeKind.FEATURE))
    best = units[np.argsort(-whole.nodes.influence[units])][:25]
    kept = {few.nodes.key(n) for n in np.flatnonzero(few.nodes.of_kind(NodeKind.FEATURE))}
    assert len(kept & {whole.nodes.key(n) for n in best}) >= 20


def test_the_same_seed_gives_the_same_bytes(run):
    assert run(max_nodes=40).digest == run(max_nodes=40).digest
    assert run().digest == run(max_nodes=100_000).digest


def test_batches_of_any_size_agree(run):
    one, many = run(batch_size=1), run(batch_size=64)
    assert [one.nodes.key(n) for n in range(20)] == [many.nodes.key(n) for n in range(20)]
    assert len(one.edges) == pytest.approx(len(many.edges), abs=20)
    np.testing.assert_allclose(one.nodes.influence, many.nodes.influence, atol=1e-5)


def test_double_precision_agrees_and_conserves_better(run):
    single, double = run(), run(dtype="float64")
    np.testing.assert_allclose(single.nodes.influence, double.nodes.influence, atol=1e-4)


def test_provenance_tells_what_was_used_and_what_not(run):
    circuit = run(mlp="transcoder")
    p = circuit.provenance
    assert [card["name"] for card in p.dictionaries] == [
        "attn_out_0", "transcoder_0", "attn_out_1", "transcoder_1",
    ]  # fmt: skip
    assert any("mlp_out_0, mlp_out_1" in remark for remark in p.remarks)
    assert any("trained on tiny" in remark for remark in p.remarks)
    assert {"explained_variance", "l0", "silent_share"} == set(p.dictionaries[0]["here"])
    assert set(p.scores) == {"error_share", "replacement", "completeness"}
    assert 0 < p.scores["error_share"] < 1
    assert p.settings["prompt"] == PROMPT
    assert p.started.endswith("+00:00")


def test_every_node_has_a_label(run):
    circuit = run()
    assert all(circuit.labels)
    token = next(iter(np.flatnonzero(circuit.nodes.of_kind(NodeKind.TOKEN))))
    assert circuit.labels[token] == "<bos>"
    features = np.flatnonzero(circuit.nodes.of_kind(NodeKind.FEATURE))
    assert all(circuit.labels[n].startswith("on ") and "→" in circuit.labels[n] for n in features)
    assert "unexplained attention, layer 0" in circuit.labels


def test_only_the_strongest_are_read_out_where_all_would_cost_too_much(run, monkeypatch):
    from circuitscope.tracing import labels

    whole = run()
    monkeypatch.setattr(labels, "_MOST_PRODUCTS", 0)
    monkeypatch.setattr(labels, "_LEAST_READ", 40)
    few = run()
    assert few.digest == whole.digest
    assert all(few.labels)
    features = np.flatnonzero(few.nodes.of_kind(NodeKind.FEATURE))
    read = np.array(["→" in few.labels[n] for n in features])
    assert 0 < read.sum() < len(features)
    strength = few.nodes.influence[features]
    assert strength[read].max() == strength.max()
    assert all(few.labels[n] == whole.labels[n] for n in features[read])


def test_the_hand_wired_circuit_is_found(hand_wired):
    settings = TraceSettings((1, 3, 2, 4), targets=(Logit(5),), units="neurons", max_nodes=None)
    circuit = trace(hand_wired, settings)
    root = int(circuit.roots[0])
    (head,) = [edge.source for edge in circuit.inputs(root)]
    assert str(head.key) == "head/head_z/0/3/0"
    (token,) = [edge.source for edge in circuit.inputs(head.index)]
    assert str(token.key) == "token/embed/-1/1/3"
    whole = float(circuit.root_weights[0])
    assert circuit.nodes.influence[token.index] == pytest.approx(whole)
    # Token 3 is (2, 0, 0, 1), of root mean square sqrt(5)/2; a quarter of it is copied, times 3.
    written = 3 * 0.25 * 2 / np.sqrt(5 / 4 + 1e-6)
    assert circuit.preactivation[head.index] == pytest.approx(written, rel=1e-5)
    assert circuit.preactivation[root] == pytest.approx(
        written / np.sqrt((written**2 + 1) / 4 + 1e-6), rel=1e-5
    )


class CancelAfter:
    """A progress that stops the job after some calls."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def phase(self, name: str, total: int = 0) -> None: ...
    def partial(self, result: object) -> None: ...
    def note(self, text: str) -> None: ...

    def advance(self, steps: int = 1) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Cancelled


@pytest.mark.parametrize("calls", [1, 3, 6])
def test_cancelling_leaves_no_hook(model, dictionaries, calls):
    with pytest.raises(Cancelled):
        trace(model, TraceSettings(PROMPT, batch_size=4), dictionaries, CancelAfter(calls))
    gc.collect()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())


def test_targets_that_do_not_exist_are_named(run):
    with pytest.raises(TargetNotFound, match="no position 40"):
        run(targets=(Logit("Austin", 40),))
    with pytest.raises(TargetNotFound):
        run(targets=(Logit("Atlantis"),))
    with pytest.raises(TargetNotFound, match="has 24"):
        run(targets=(Feature("mlp_out", 1, 24),))
    with pytest.raises(TargetNotFound, match="mlp_transcoder in layer 1"):
        run(targets=(Feature("mlp_transcoder", 1, 3),))
    with pytest.raises(TargetNotFound, match="Both sides"):
        run(targets=(LogitDifference("Austin", "Austin"),))
    with pytest.raises(TargetNotFound, match="No target"):
        run(targets=())


def test_prompts_that_cannot_be_run_are_refused(model):
    for prompt in ("", (1,) * 40, (99,)):
        with pytest.raises(PromptError):
            trace(model, TraceSettings(prompt, units="neurons"))


def test_a_dictionary_of_another_width_is_refused_with_both_numbers(model, tmp_path):
    from sae_lens_writer import write_sae

    from circuitscope.dictionaries.format import load_dictionaries

    wide = load_dictionaries(write_sae(tmp_path / "wide", "mlp_out", 0, d=20))
    with pytest.raises(DictionaryMismatch, match=r"d_model 20, but .* has 16"):
        trace(model, TraceSettings(PROMPT), wide)
    deep = load_dictionaries(write_sae(tmp_path / "deep", "mlp_out", 7))
    with pytest.raises(DictionaryMismatch, match=r"layer 7, but .* layers 0 to 1"):
        trace(model, TraceSettings(PROMPT), deep)


def test_methods_and_units_that_cannot_work_are_refused(model, dictionaries):
    with pytest.raises(TraceError, match="no method called 'magic'"):
        trace(model, TraceSettings(PROMPT, method="magic"))
    with pytest.raises(TraceError, match="transcoders, but none was given"):
        trace(model, TraceSettings(PROMPT, mlp="transcoder"))
    with pytest.raises(TraceError, match=r"None of the .*MLPs are read by the secant rule"):
        trace(model, TraceSettings(PROMPT), [dictionaries["transcoder_0"]])
    with pytest.raises(TraceError, match="Only features"):
        trace(model, TraceSettings(PROMPT, units="features"))


def test_dictionaries_that_never_fire_are_refused(model, dictionaries):
    quiet = []
    for dictionary in dictionaries[:2]:
        weights = replace(dictionary.weights, threshold=torch.full((24,), 1e9))
        quiet.append(Dictionary(dictionary.card, weights))
    with pytest.raises(NothingActive):
        trace(model, TraceSettings(PROMPT), quiet)


def test_modules_without_dictionary_stay_whole_where_only_features_are_wanted(model, dictionaries):
    some = [dictionaries["attn_out_0"], dictionaries["mlp_out_1"]]
    settings = TraceSettings(PROMPT, targets=(Logit("Austin"),), units="features", max_nodes=None)
    circuit = trace(model, settings, some)
    assert rebuilt(circuit).max() < 2e-6
    whole = circuit.nodes.of_kind(NodeKind.ERROR) & (circuit.nodes.site == Site.MLP_OUT)
    assert (whole & (circuit.nodes.layer == 0)).sum() == len(circuit.tokens)
    assert any("layer 0: one error node per" in remark for remark in circuit.provenance.remarks)
    assert not circuit.nodes.of_kind(NodeKind.HEAD, NodeKind.NEURON).any()


def test_features_heads_and_neurons_mix_by_layer(model, dictionaries):
    from circuitscope.tracing.verify import verify

    some = [dictionaries["attn_out_1"], dictionaries["mlp_out_0"]]
    settings = TraceSettings(PROMPT, targets=(Logit("Austin"),), max_nodes=None)
    circuit = trace(model, settings, some)
    assert rebuilt(circuit).max() < 2e-6
    kinds = {NodeKind(int(kind)) for kind in circuit.nodes.kind}
    assert {NodeKind.FEATURE, NodeKind.HEAD, NodeKind.NEURON, NodeKind.ERROR} <= kinds
    found = verify(model, circuit, dictionaries=some)
    size = np.abs(circuit.preactivation[found.targets]) + 1
    assert (np.abs(found.measured - found.predicted) / size).max() < 2e-5


def test_more_rows_than_memory_holds_are_refused_with_numbers(run, monkeypatch):
    import psutil

    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=1000))
    with pytest.raises(OutOfMemory, match=r"rows .* GB are free"):
        run(units="neurons")


def test_double_precision_models_conserve_to_rounding(tiny_gpt2, dictionaries):
    from circuitscope.models.loading import load_model

    model = load_model(tiny_gpt2, device="cpu", dtype="float64")
    circuit = trace(model, TraceSettings(PROMPT, dtype="float64", max_nodes=None), dictionaries)
    assert circuit.conservation.max() < 5e-7


def test_weak_neurons_are_summed_apart(run, monkeypatch):
    from circuitscope.tracing import run as run_module

    monkeypatch.setattr(run_module, "_MOST_NEURONS", 50)
    circuit = run(units="neurons", max_nodes=20)
    assert circuit.unexplained.any()
    assert any("weak neurons" in remark for remark in circuit.provenance.remarks)
    assert rebuilt(circuit).max() < 2e-6


def test_conserve_measures_the_miss_against_the_row_size():
    found = conserve(np.array([3.0, 0.0]), np.array([[1.0, 1.0], [2.0, -2.0]]), np.array([0.0, 0]))
    np.testing.assert_allclose(found, [0.5, 0.0])
    assert silent() is not None


@pytest.mark.parametrize("name", ["gelu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("gated", ["half", "through_u", "gradient"])
def test_gated_neurons_far_in_the_tail_of_gelu_add_up(name, gated):
    import transformers

    from circuitscope.models.families.llama import Llama
    from circuitscope.models.loading import LoadedModel

    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, hidden_act=name, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    for key, parameter in module.named_parameters():
        # Large gates, so that many lie where the module's float32 product has lost its digits.
        parameter.copy_(torch.randn_like(parameter) * (0.8 if "gate" in key else 0.3))
    anatomy = Llama().describe({**config.to_dict(), "architectures": ["LlamaForCausalLM"]})
    model = LoadedModel(anatomy, module, None, Llama(), torch.device("cpu"), torch.float32)
    settings = TraceSettings((1, 5, 9, 3), units="neurons", max_nodes=None, gated=gated)
    circuit = trace(model, settings)
    assert rebuilt(circuit).max() < 1e-5
