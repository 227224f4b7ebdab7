"""Every promise of the API's definition, statement by statement, on tiny real models."""

import inspect
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import BiasUnit
from circuitscope.dictionaries.format import DictionarySet
from circuitscope.models.loading import LoadedModel
from circuitscope.session.notebook import project_for
from tests.sae_lens_writer import write_set

PROMPT = "the capital of the state containing Dallas is"
FEATURES = {"mlp": "secant"}, {"mlp": "transcoder"}
CHAT = "{{ bos_token }} {% for message in messages %}{{ message.content }} {% endfor %}"


@pytest.fixture(scope="module")
def dictionaries(tmp_path_factory: pytest.TempPathFactory) -> DictionarySet:
    return cs.load_dictionaries(write_set(tmp_path_factory.mktemp("dictionaries") / "set"))


@pytest.fixture(scope="module")
def models(tiny_gpt2: Path, tiny_llama: Path) -> dict[str, LoadedModel]:
    return {path.name: cs.load_model(path, device="cpu") for path in (tiny_gpt2, tiny_llama)}


@pytest.fixture(params=["tiny-gpt2", "tiny-llama"])
def model(request: pytest.FixtureRequest, models: dict[str, LoadedModel]) -> LoadedModel:
    return models[request.param]


@pytest.fixture
def circuit(model: LoadedModel, dictionaries: DictionarySet) -> Circuit:
    return cs.trace(model, PROMPT, dictionaries=dictionaries, max_nodes=None)


def keys(circuit: Circuit) -> list[str]:
    return [str(circuit.nodes.key(index)) for index in range(len(circuit.nodes))]


def named_edges(circuit: Circuit) -> dict[tuple[str, str], float]:
    names, edges = keys(circuit), circuit.edges
    pairs = zip(edges.source, edges.target, edges.weight, strict=True)
    return {(names[source], names[target]): float(weight) for source, target, weight in pairs}


def test_importing_and_inspecting_load_neither_torch_nor_qt(tiny_llama: Path) -> None:
    script = (
        "import sys, circuitscope as cs\n"
        "def heavy(): return [n for n in sys.modules if n.split('.')[0] in "
        "('torch', 'transformers', 'PySide6')]\n"
        "assert not heavy(), heavy()\n"
        "cs.trace, cs.Circuit\n"
        f"print(cs.inspect_model({str(tiny_llama)!r}).anatomy.d_model)\n"
        "assert not heavy(), heavy()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "16"


def test_arguments_and_defaults_are_those_of_the_page() -> None:
    def arguments(function: object) -> dict[str, object]:
        found = inspect.signature(function).parameters
        return {name: one.default for name, one in found.items() if one.kind != one.VAR_KEYWORD}

    missing = inspect.Parameter.empty
    trace = arguments(cs.trace)
    assert list(trace.pop("targets")) == ["logit:top"]
    assert list(trace.items()) == [
        ("model", missing), ("prompt", missing), ("method", "direct"), ("dictionaries", None),
        ("max_nodes", 2048), ("units", "auto"), ("mlp", "secant"), ("gated", "half"),
        ("conventions", "ours"), ("batch_size", None), ("update_interval", 4), ("seed", 0),
        ("progress", None),
    ]  # fmt: skip
    verify = list(arguments(cs.verify).items())[:6]
    assert verify[2:] == [("nodes", None), ("edges", None), ("mode", "zero"), ("effect", "direct")]
    assert list(arguments(cs.prune).items())[1:3] == [
        ("node_threshold", 0.8), ("edge_threshold", 0.98),
    ]  # fmt: skip
    assert list(arguments(cs.load_model).items())[1:3] == [("device", "auto"), ("dtype", "float32")]
    assert arguments(cs.new_project)["overwrite"] is False
    assert arguments(cs.open_project)["read_only"] is False


def test_a_run_is_numpy_float32_and_interventions_change_it(model: LoadedModel) -> None:
    out, ids = model.run(PROMPT), model.prompt(PROMPT).token_ids
    anatomy = model.anatomy
    assert out.logits.shape == (len(ids), anatomy.d_vocab)
    assert out.pattern(1).shape == (anatomy.n_heads, len(ids), len(ids))
    assert out.site("mlp_hidden", 1).shape == (len(ids), anatomy.d_mlp)
    assert {out.logits.dtype, out.pattern(1).dtype, out.site("resid_mid", 0).dtype} == {
        np.dtype(np.float32)
    }
    with torch.no_grad():
        real = model.module(input_ids=torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(out.logits, real, atol=1e-5)
    change = cs.Intervention(site="head_z", layer=1, head=2, positions=[7], mode="zero")
    changed = model.run(ids, [change])
    assert not np.allclose(changed.logits[7], real[7])
    np.testing.assert_allclose(changed.logits[:7], real[:7], atol=1e-5)
    assert not changed.site("head_z", 1)[7, 2].any()
    one, two = (model.generate(PROMPT, n_tokens=4, interventions=(), seed=0) for _ in range(2))
    assert one.token_ids == two.token_ids
    assert one.token_ids[: len(ids)] == ids


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_number_formats_run_and_are_traced(tiny_llama: Path, dtype: str) -> None:
    model = cs.load_model(tiny_llama, device="cpu", dtype=dtype)
    assert model.check is not None
    assert model.check.passed
    assert model.run(PROMPT).logits.dtype == np.float32
    assert model.generate(PROMPT, 2).new_ids
    exact = "float64" if dtype == "float64" else "float32"
    circuit = cs.trace(model, PROMPT, max_nodes=20, dtype=exact)
    assert circuit.conservation.max() < (1e-6 if dtype == "float64" else 1e-4)
    assert circuit.provenance.dtype == exact
    assert circuit.provenance.model["held_in"] == dtype


def test_prompts_are_text_ids_or_messages(model: LoadedModel) -> None:
    ids = model.prompt(PROMPT).token_ids
    assert cs.trace(model, np.array(ids), max_nodes=9).token_ids == ids
    with pytest.raises(cs.CircuitScopeError, match="two BOS tokens"):
        model.run([1, 1, 5])
    with pytest.raises(cs.CircuitScopeError, match="no chat template"):
        cs.trace(model, [{"role": "user", "content": "Dallas"}])
    with pytest.raises(cs.CircuitScopeError, match="neither text nor token ids"):
        model.run([1.5, "x"])
    model.tokenizer.chat_template = (
        "{{ bos_token }} {% for m in messages %}{{ m.content }} {% endfor %}"
    )
    try:
        messages = [{"role": "user", "content": "the capital"}, {"role": "user", "content": "is"}]
        written = cs.trace(model, messages, max_nodes=9).tokens
    finally:
        model.tokenizer.chat_template = None
    assert [token.strip() for token in written][-3:] == ["the", "capital", "is"]


def test_dictionaries_are_a_sequence_by_place_and_name(dictionaries: DictionarySet) -> None:
    assert len(dictionaries) == 6
    assert [item.card.name for item in dictionaries][:2] == ["attn_out_0", "attn_out_1"]
    assert dictionaries["mlp_out_1"] is dictionaries[3]


def test_targets_take_every_form(model: LoadedModel, dictionaries: DictionarySet) -> None:
    austin = model.find_token("Austin")
    last, vector = len(model.prompt(PROMPT).token_ids) - 1, np.ones(16)
    targets = [
        "logit:Austin", cs.Logit("Austin"), cs.Logit(np.int64(austin), position=-1),
        cs.Logit(austin, last),
        cs.LogitDifference("Austin", "Texas"), cs.Direction(vector, "ones"),
        cs.Feature("mlp_out", 1, 3, 8), cs.Logit("Texas", position=4),
    ]  # fmt: skip
    circuit = cs.trace(model, PROMPT, dictionaries=dictionaries, targets=targets, max_nodes=8)
    assert len(circuit.roots) == 5
    kinds = [cs.NodeKind(int(circuit.nodes.kind[root])).name for root in circuit.roots]
    assert kinds == ["LOGIT", "LOGIT", "LOGIT", "FEATURE", "LOGIT"]
    assert circuit.nodes.key(int(circuit.roots[4])).position == 4
    assert json.loads(json.dumps(circuit.provenance.settings))["targets"]
    one = cs.trace(model, PROMPT, targets="logit:Austin", max_nodes=8)
    assert len(one.roots) == 1
    for wrong in ("banana", "feature/mlp_out/x/1/2", 5, None, "logit:Austn"):
        with pytest.raises(cs.CircuitScopeError):
            cs.trace(model, PROMPT, targets=[wrong])


def test_the_top_logits_are_the_smallest_set_that_reaches_the_mass(model: LoadedModel) -> None:
    circuit = cs.trace(model, PROMPT, max_nodes=8)
    logits = model.run(PROMPT).logits[-1].astype(np.float64)
    chance = np.exp(logits - logits.max())
    chance /= chance.sum()
    order = np.argsort(-chance)
    n = min(int(np.searchsorted(chance[order].cumsum(), 0.95)) + 1, 10)
    assert circuit.nodes.unit[circuit.roots].tolist() == order[:n].tolist()
    np.testing.assert_allclose(circuit.root_weights, chance[order[:n]], rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": "banana"}, {"mlp": "banana"}, {"gated": "banana"}, {"dtype": "float16"},
        {"method": "banana"}, {"conventions": "banana"}, {"batch_size": 0}, {"max_nodes": -1},
        {"update_interval": 0}, {"max_logits": 0}, {"logit_mass": 2.0},
    ],
    ids=str,
)  # fmt: skip
def test_settings_outside_their_choices_are_refused(models, wrong: dict) -> None:
    with pytest.raises(cs.CircuitScopeError):
        cs.trace(models["tiny-gpt2"], PROMPT, **wrong)


def test_nodes_follow_the_table_of_kinds(model: LoadedModel, dictionaries: DictionarySet) -> None:
    mixed = [dictionaries["attn_out_1"], dictionaries["mlp_out_0"]]
    circuit = cs.trace(model, PROMPT, dictionaries=mixed, max_nodes=None)
    ids, anatomy = circuit.token_ids, model.anatomy
    seen = set()
    for index in range(len(circuit.nodes)):
        key = circuit.nodes.key(index)
        kind, inside = key.kind, 0 <= key.position < len(ids)
        seen.add(kind.name)
        expected = {
            "TOKEN": lambda k: k.layer == -1 and k.unit == ids[k.position],
            "POSITION": lambda k: k.layer == -1 and k.unit == k.position,
            "FEATURE": lambda k: 0 <= k.layer < 2 and 0 <= k.unit < 24,
            "NEURON": lambda k: 0 <= k.layer < 2 and 0 <= k.unit < anatomy.d_mlp,
            "ERROR": lambda k: k.unit == -1 and k.site.text in ("attn_out", "mlp_out"),
            "HEAD": lambda k: 0 <= k.layer < 2 and 0 <= k.unit < anatomy.n_heads,
            "BIAS": lambda k: k.position == -1 and k.unit in list(BiasUnit),
            "LOGIT": lambda k: k.layer == anatomy.n_layers and k.unit < anatomy.d_vocab,
        }[kind.name]
        assert expected(key), key
        assert inside or kind.name == "BIAS"
    assert seen >= {"TOKEN", "FEATURE", "NEURON", "ERROR", "HEAD", "BIAS", "LOGIT"}
    assert ("POSITION" in seen) == (anatomy.positions == "learned")
    assert len(set(keys(circuit))) == len(circuit.nodes)
    assert all(str(cs.NodeKey.parse(name)) == name for name in keys(circuit))


def test_no_budget_gives_every_active_feature_a_row(
    model: LoadedModel, dictionaries: DictionarySet
) -> None:
    # Early positions at the last layer feed nothing that is explained; they have rows all the same.
    circuit = cs.trace(
        model, PROMPT, dictionaries=dictionaries, targets=["logit:Austin"], max_nodes=None
    )
    features = circuit.nodes.of_kind(cs.NodeKind.FEATURE)
    assert circuit.expanded[features].all()
    assert (circuit.nodes.influence[features] == 0).any()
    for name in ("attn_out_1", "mlp_out_0"):
        card = dictionaries[name].card
        values = dictionaries[name].activate(
            dictionaries[name].preactivations(
                torch.from_numpy(model.run(PROMPT).site(card.read_site, card.layers[0]))
            )
        )
        here = features & (circuit.nodes.site == card.feature_site)
        here &= circuit.nodes.layer == card.layers[0]
        assert here.sum() == int((values != 0).sum())


def test_circuits_conserve_and_hold_the_arrays_of_the_page(circuit: Circuit) -> None:
    edges, nodes = circuit.edges, circuit.nodes
    n = len(nodes)
    total = np.bincount(edges.target, edges.weight.astype(np.float64), minlength=n)
    size = np.bincount(edges.target, np.abs(edges.weight).astype(np.float64), minlength=n)
    miss = np.abs(circuit.preactivation - total - circuit.unexplained)
    rows = circuit.expanded
    assert (miss[rows] <= 1e-5 * (size + np.abs(circuit.unexplained))[rows]).all()
    assert not circuit.conservation[~rows].any()
    assert circuit.tokens[0] == "<bos>"
    assert (len(circuit.root_weights), edges.route.max()) == (len(circuit.roots), 0)
    with pytest.raises(ValueError, match="read-only"):
        circuit.edges.weight[0] = 1
    with pytest.raises(AttributeError):
        circuit.tokens = ()


def test_scores_and_pruning_answer_by_name(circuit: Circuit) -> None:
    assert set(cs.scores(circuit)) == {"replacement", "completeness", "error_share"}
    assert circuit.provenance.scores == cs.scores(circuit)
    kept = cs.prune(circuit, node_threshold=0.5, edge_threshold=0.9)
    assert kept.node_mask.shape == kept.reasons.shape == (len(circuit.nodes),)
    assert kept.edge_mask.shape == (len(circuit.edges),)
    assert ((kept.reasons == 0) == kept.node_mask).all()


def test_influence_is_the_sum_over_all_paths(circuit: Circuit) -> None:
    edges, n = circuit.edges, len(circuit.nodes)
    constant = circuit.nodes.of_kind(cs.NodeKind.BIAS, cs.NodeKind.POSITION)
    shares = np.zeros((n, n))
    seen = ~constant[edges.source]
    shares[edges.target[seen], edges.source[seen]] = np.abs(edges.weight[seen])
    shares /= np.maximum(shares.sum(1, keepdims=True), 1e-30)
    wave, total = np.zeros(n), np.zeros(n)
    wave[circuit.roots] = circuit.root_weights
    while (wave := wave @ shares).any():
        total += wave
    np.testing.assert_allclose(circuit.nodes.influence, total, atol=1e-6)


def test_verify_answers_one_entry_an_edge(
    model: LoadedModel, dictionaries: DictionarySet, circuit: Circuit
) -> None:
    root = int(circuit.roots[0])
    strongest = [edge.source.index for edge in circuit.inputs(root)[:20]]
    run = cs.verify(model, circuit, nodes=strongest, dictionaries=dictionaries)
    assert sorted(run.edges) == sorted(e for n in strongest for e in circuit.edges.out_of(n))
    assert np.issubdtype(run.edges.dtype, np.integer)
    assert run.predicted.dtype == run.measured.dtype == np.float64
    np.testing.assert_array_equal(run.predicted, -circuit.edges.weight[run.edges])
    into = circuit.edges.target[run.edges] == root
    np.testing.assert_allclose(run.measured[into], run.predicted[into], rtol=1e-3)
    chosen = run.edges[:3]
    few = cs.verify(model, circuit, edges=chosen, dictionaries=dictionaries)
    assert few.edges.tolist() == chosen.tolist()
    total = cs.verify(model, circuit, strongest[:2], effect="total", dictionaries=dictionaries)
    assert len(total.measured) == 2 * len(circuit.roots)


@pytest.mark.parametrize("how", [*FEATURES, {"units": "neurons"}], ids=str)
def test_later_positions_do_not_matter(model, dictionaries, how: dict) -> None:
    ids = list(model.prompt(PROMPT).token_ids)
    early = [cs.Logit("Austin", position=4)]
    used = None if "units" in how else dictionaries
    whole = cs.trace(model, ids, dictionaries=used, targets=early, max_nodes=None, **how)
    short = cs.trace(model, ids[:5], dictionaries=used, targets=early, max_nodes=None, **how)
    here, there = named_edges(whole), named_edges(short)
    assert there.keys() <= here.keys()
    assert max(abs(here[pair] - weight) for pair, weight in there.items()) < 1e-5
    later = {name for pair in here.keys() - there.keys() for name in pair} - set(keys(short))
    influence = dict(zip(keys(whole), whole.nodes.influence, strict=True))
    assert not any(influence[name] for name in later)


@pytest.mark.parametrize("ids", [[1], [5], [1, *(3 + i % 20 for i in range(31))]], ids=len)
@pytest.mark.parametrize("how", FEATURES, ids=str)
def test_prompts_of_one_token_and_of_the_whole_context(model, dictionaries, how, ids) -> None:
    circuit = cs.trace(model, ids, dictionaries=dictionaries, max_nodes=None, **how)
    assert circuit.conservation.max() < 1e-5
    assert circuit.token_ids == tuple(ids)


@pytest.mark.parametrize("max_nodes", [0, 1, 40, None])
def test_the_batch_size_changes_nothing(model, dictionaries, max_nodes) -> None:
    found = [
        cs.trace(model, PROMPT, dictionaries=dictionaries, max_nodes=max_nodes, batch_size=size)
        for size in (1, 64, None)
    ]
    first = named_edges(found[0])
    for other in found[1:]:
        assert keys(other) == keys(found[0])
        theirs = named_edges(other)
        both = first.keys() & theirs.keys()
        assert max(abs(first[pair] - theirs[pair]) for pair in both) < 1e-5
        assert all(abs(first.get(p, 0) - theirs.get(p, 0)) < 1e-5 for p in first.keys() ^ both)


@pytest.mark.slow
def test_two_processes_find_the_same_bytes(tiny_llama: Path, models) -> None:
    script = (
        "import circuitscope as cs\n"
        f"model = cs.load_model({str(tiny_llama)!r}, device='cpu')\n"
        f"print(cs.trace(model, {PROMPT!r}, max_nodes=50).digest)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    here = cs.trace(models["tiny-llama"], PROMPT, max_nodes=50)
    assert done.stdout.strip() == here.digest, done.stderr


def test_traces_leave_the_thread_count_alone(models) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = cs.trace(models["tiny-gpt2"], PROMPT, max_nodes=20)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert cs.trace(models["tiny-gpt2"], PROMPT, max_nodes=20).digest == two.digest
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["gpt2_relu", "llama_relu"])
def test_golden_models_trace_by_their_neurons(name: str) -> None:
    folder = Path(__file__).parent / "data" / "golden" / "attribution" / name
    ids = np.load(folder / "graph_p0.npz")["input_tokens"].tolist()
    model = cs.load_model(folder / "model", device="cpu")
    circuit = cs.trace(model, ids, units="neurons", max_nodes=200)
    assert circuit.conservation.max() < 1e-5
    np.testing.assert_allclose(
        model.run(ids).logits[-1], np.load(folder / "graph_p0.npz")["last_logits"], atol=1e-4
    )


def test_circuits_show_themselves_in_notebooks(circuit: Circuit) -> None:
    svg = circuit._repr_svg_()
    assert svg is not None
    assert svg.startswith("<?xml")
    assert "<svg" in svg
    graph = cs.to_networkx(circuit)
    assert graph.number_of_edges() == len(circuit.edges)
    path = project_for(circuit)
    assert project_for(circuit) == path
    with cs.open_project(path, read_only=True) as project:
        assert [item.digest for item in project.circuits().values()] == [circuit.digest]


def test_projects_keep_circuits_by_unique_name(small_circuit: Circuit, tmp_path: Path) -> None:
    path = tmp_path / "one.circuitscope"
    with cs.new_project(path) as project:
        project.add(small_circuit, name="first")
        project.add(small_circuit, name="first")
        assert len(set(project.circuits())) == 2
        assert isinstance(project.circuits(), Mapping)
        project.save()
        project.add(small_circuit, name="dropped")
    with pytest.raises(cs.CircuitScopeError):
        cs.new_project(path)
    with cs.open_project(path) as project:
        names = list(project.circuits())
        assert names[0] == "first"
        assert "dropped" not in names
        project.save_as(tmp_path / "two.circuitscope")
    assert (tmp_path / "two.circuitscope").exists()
