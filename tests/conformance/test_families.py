"""Every model family, on random models with non-trivial norms and biases, against the real module.

A new family adds one line to `variants.VARIANTS` for each shape it comes in.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError, TraceError
from circuitscope.core.intervention import Intervention
from circuitscope.core.registry import Registry
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.core.sources import Head
from circuitscope.models.capture import ForwardCache, capture
from circuitscope.models.drafting import known_architectures
from circuitscope.models.family import FAMILIES, ModelFamily
from circuitscope.models.freezing import frozen_run
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.gates import GatedRule
from circuitscope.models.head import head_jvp, head_vjp
from circuitscope.models.lens import lens
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.scores import side
from circuitscope.models.self_check import relative_error, self_check
from circuitscope.models.walks import pull, push
from circuitscope.tracing.method import trace
from circuitscope.tracing.splitting import decompose
from circuitscope.tracing.verify import verify
from tests.conformance.table import measured
from tests.conformance.variants import IDS, VARIANTS, hugging_face_places, make_folder

RULES: tuple[GatedRule, ...] = ("half", "through_u", "gradient")


@dataclass(frozen=True)
class Case:
    name: str
    model: LoadedModel
    cache: ForwardCache
    reference: Any


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    architecture, settings = VARIANTS[request.param]
    folder = make_folder(tmp_path_factory.mktemp("family") / request.param, architecture, settings)
    model = load_model(folder, "cpu")
    kind = getattr(transformers, architecture)
    reference = kind.from_pretrained(folder, attn_implementation="eager").eval()
    return Case(request.param, model, capture(model, IDS), reference)


@pytest.fixture(autouse=True)
def no_hook_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "case" in request.fixturenames:
        assert hook_count(request.getfixturevalue("case").model.module) == 0


def hook_count(module: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def random_like(tensor: Tensor, *lead: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, *tensor.shape, generator=source, dtype=torch.float64)


def dot(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())


def apart(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), abs(b))


def test_every_registered_family_is_tried() -> None:
    families: Registry[ModelFamily] = Registry(FAMILIES)
    assert set(families.names()) <= {architecture for architecture, _ in VARIANTS.values()}


def test_forward_pass_equals_hugging_face(case: Case) -> None:
    with torch.no_grad():
        wanted = case.reference(torch.tensor([IDS]), output_attentions=True)
    assert relative_error(case.cache.logits, wanted.logits[0]) < 1e-6
    for layer, pattern in enumerate(wanted.attentions):
        assert relative_error(case.cache.patterns[layer], pattern[0]) < 1e-6


def test_captured_parts_add_up(case: Case) -> None:
    check = self_check(case.model, IDS)
    measured(case.name, "logits", check.logits, 1e-4)
    measured(case.name, "patterns", check.patterns, 1e-5)
    measured(case.name, "residual", check.residual, 1e-5)
    assert relative_error(case.cache.logits, capped(case, case.cache.raw_logits)) < 1e-6
    assert check.attention < 1e-5
    assert check.mlp < 1e-5
    assert check.passed
    assert case.model.check is not None
    assert case.model.check.passed, "the same check, made while loading"


def capped(case: Case, logits: Tensor) -> Tensor:
    cap = case.model.anatomy.logit_softcap
    return logits if cap is None else cap * torch.tanh(logits / cap)


def test_anatomy_matches_the_weights(case: Case) -> None:
    anatomy, family, module = case.model.anatomy, case.model.family, case.model.module
    attention, mlp = family.attention_weights(module, 0), family.mlp_weights(module, 0)
    d_model, d_head = anatomy.d_model, anatomy.d_head
    assert attention.W_Q.shape == (anatomy.n_heads, d_model, d_head)
    assert attention.W_K.shape == attention.W_V.shape == (anatomy.n_kv_heads, d_model, d_head)
    assert attention.W_O.shape == (anatomy.n_heads, d_head, d_model)
    assert mlp.W_in.shape == (d_model, anatomy.d_mlp)
    assert mlp.W_out.shape == (anatomy.d_mlp, d_model)
    assert mlp.gated == anatomy.gated_mlp
    assert mlp.activation == anatomy.activation
    W_U, _ = family.unembed(module)
    W_E, W_pos = family.embedding(module)
    assert W_U.shape == (d_model, anatomy.n_labels or anatomy.d_vocab)
    assert W_E.shape == (anatomy.d_vocab, d_model)
    assert (W_pos is not None) == (anatomy.positions == "learned")
    if W_pos is not None and case.cache.pos_embed is not None:
        assert torch.equal(case.cache.pos_embed, W_pos[: len(IDS)])
        assert len(W_pos) == anatomy.n_ctx
    assert torch.equal(case.cache.embed, W_E[IDS])


@pytest.mark.parametrize("gated", RULES)
def test_frozen_maps_and_constants_give_back_what_was_written(case: Case, gated: GatedRule) -> None:
    frozen = FrozenModel(case.model, case.cache, gated)
    for layer in range(case.model.anatomy.n_layers):
        mlp = frozen.mlp_constants(layer)
        out = frozen.mlp_jvp(layer, case.cache.resid[Site.RESID_MID, layer]) + mlp.module + mlp.norm
        assert relative_error(out, case.cache.mlp_out[layer]) < 1e-5
        heads = frozen.heads_constants(layer)
        z = frozen.heads_jvp(layer, case.cache.resid[Site.RESID_PRE, layer])
        assert relative_error(z + heads.module + heads.norm, case.cache.head_z[layer]) < 1e-5
        g, u = frozen.preact_jvp(layer, case.cache.resid[Site.RESID_MID, layer])
        constants = frozen.preact_constants(layer)
        assert (
            relative_error(g + constants.module + constants.norm, case.cache.mlp_gate[layer]) < 1e-5
        )
        assert (u is None) == (not case.model.anatomy.gated_mlp)


def test_scores_of_both_sides_make_the_patterns(case: Case) -> None:
    """Softmax leaves differences of scores: s(q, k) - s(q, q) = log p(q, k) - log p(q, q)."""
    if case.model.anatomy.attention_softcap is not None:
        return
    frozen, anatomy = FrozenModel(case.model, case.cache, dtype=torch.float64), case.model.anatomy
    query = len(IDS) - 1
    for layer in range(anatomy.n_layers):
        seen = case.cache.patterns[layer][:, query].double().log()
        for head in range(anatomy.n_heads):
            scores = torch.stack([
                side(frozen, layer, head, query, "query").value
                @ side(frozen, layer, head, key, "key").value
                for key in range(query + 1)
            ])  # fmt: skip
            near = seen[head].isfinite()  # within the window of local attention
            wanted = seen[head] - seen[head, query]
            assert relative_error((scores - scores[query])[near], wanted[near]) < 1e-5


Maps = Callable[[FrozenModel, Tensor], Tensor]
PAIRS: dict[str, tuple[Maps, Maps, Callable[[ForwardCache], Tensor]]] = {
    "attention": (
        lambda f, x: f.attn_jvp(1, x), lambda f, g: f.attn_vjp(1, g), lambda c: c.attn_out[1],
    ),
    "heads": (
        lambda f, x: f.heads_jvp(1, x), lambda f, g: f.heads_vjp(1, g), lambda c: c.head_z[1],
    ),
    "mlp": (lambda f, x: f.mlp_jvp(1, x), lambda f, g: f.mlp_vjp(1, g), lambda c: c.mlp_out[1]),
    "hidden": (
        lambda f, x: f.hidden_jvp(1, x), lambda f, g: f.hidden_vjp(1, g),
        lambda c: c.mlp_hidden[1],
    ),
    "gate": (
        lambda f, x: f.preact_jvp(1, x)[0], lambda f, g: f.preact_vjp(1, g),
        lambda c: c.mlp_gate[1],
    ),
    "a norm": (
        lambda f, x: f.norm_jvp(Site.LN2_NORMALIZED, 1, x),
        lambda f, g: f.norm_vjp(Site.LN2_NORMALIZED, 1, g), lambda c: c.embed,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PAIRS))
@pytest.mark.parametrize("gated", RULES)
def test_pushing_and_pulling_agree(case: Case, name: str, gated: GatedRule) -> None:
    push, pull, output = PAIRS[name]
    frozen = FrozenModel(case.model, case.cache, gated, torch.float64)
    x = random_like(case.cache.embed, 2, 3)
    g = random_like(output(case.cache), 2, 3, seed=1)
    pushed, pulled = push(frozen, x), pull(frozen, g)
    assert pushed.shape == g.shape
    assert pulled.shape == x.shape
    measured(case.name, "walks", apart(dot(pushed, g), dot(x, pulled)), 1e-9)
    doubled = push(frozen, 2 * x[0] - 3 * x[1])
    measured(case.name, "linear", relative_error(doubled, 2 * pushed[0] - 3 * pushed[1]), 1e-12)
    if not case.model.anatomy.causal:
        return
    # A shorter input is the same computation.
    assert relative_error(push(frozen, x[..., :5, :]), pushed[:, :, :5]) < 1e-12
    cut = g.clone()
    cut[:, :, 5:] = 0
    assert relative_error(pull(frozen, g[:, :, :5]), pull(frozen, cut)[:, :, :5]) < 1e-12


@pytest.mark.parametrize("gated", RULES)
def test_walks_agree_with_each_other(case: Case, gated: GatedRule) -> None:
    frozen = FrozenModel(case.model, case.cache, gated, torch.float64)
    x = random_like(case.cache.embed, 2, 3)
    g = random_like(case.cache.embed, 2, 3, seed=1)
    measured(case.name, "walks", apart(dot(push(frozen, x), g), dot(x, pull(frozen, g))), 1e-9)
    single = FrozenModel(case.model, case.cache, gated)
    a, b = x.float(), g.float()
    pushed, pulled = push(single, a), pull(single, b)
    size = float((pushed * b).double().abs().sum())  # the sum itself may cancel
    measured(case.name, "walks", abs(dot(pushed, b) - dot(a, pulled)) / size, 1e-5)
    there = push(frozen, push(frozen, x, 0, 2), 2)
    assert relative_error(push(frozen, x), there) < 1e-12
    back = pull(frozen, pull(frozen, g, start=1), 1)
    assert relative_error(pull(frozen, g), back) < 1e-12
    final = random_like(case.cache.final, 2, 3, seed=2)
    assert dot(head_jvp(frozen, x), final) == pytest.approx(
        dot(x, head_vjp(frozen, final)), rel=1e-9
    )


@pytest.mark.parametrize("gated", RULES)
def test_walks_agree_with_autograd_on_the_frozen_module(case: Case, gated: GatedRule) -> None:
    leaf = torch.zeros_like(case.cache.embed, requires_grad=True)
    start = Site.RESID_PRE, 1
    run = frozen_run(
        case.model, case.cache, {start: lambda t: t + leaf}, [(Site.LN_FINAL, 0)], gated=gated
    )
    final = run[Site.LN_FINAL, 0][0]
    frozen = FrozenModel(case.model, case.cache, gated)
    g = random_like(final).float()
    (wanted,) = torch.autograd.grad((final * g).sum(), leaf, retain_graph=True)
    pulled_here = pull(frozen, head_vjp(frozen, g), start=1)
    measured(case.name, "autograd", relative_error(pulled_here, wanted), 1e-5)
    # The other way by reverse mode twice: the derivative of a pull is a push.
    x, dummy = random_like(leaf).float(), torch.zeros_like(final, requires_grad=True)
    (pulled,) = torch.autograd.grad(final, leaf, dummy, create_graph=True)
    (pushed,) = torch.autograd.grad((pulled * x).sum(), dummy)
    pushed_here = head_jvp(frozen, push(frozen, x, 1))
    measured(case.name, "autograd", relative_error(pushed_here, pushed), 1e-5)


@pytest.mark.parametrize("gated", RULES)
def test_frozen_module_is_itself_and_linear(case: Case, gated: GatedRule) -> None:
    still = frozen_run(case.model, case.cache, gated=gated)[Site.LOGITS, 0][0]
    assert relative_error(still, case.cache.raw_logits) < 1e-5
    change = random_like(case.cache.embed, seed=2).float()
    sizes = torch.tensor([1.0, 2.0, -3.0])[:, None, None]
    run = frozen_run(
        case.model, case.cache, {(Site.EMBED, 0): lambda t: t + sizes * change},
        gated=gated, batch=3,
    )  # fmt: skip
    moved = run[Site.LOGITS, 0] - still
    for n in (1, 2):
        measured(case.name, "linear", relative_error(moved[n], moved[0] * sizes[n]), 1e-5)
    # The same change pushed through the tracer's maps.
    frozen = FrozenModel(case.model, case.cache, gated)
    x = push(frozen, frozen.norm_jvp(Site.EMBED_NORM, 0, change))
    logits = head_jvp(frozen, x) @ frozen.logit_vectors(list(range(still.shape[-1]))).T
    assert relative_error(logits, moved[0]) < 1e-5


def test_held_outputs_let_nothing_through(case: Case) -> None:
    hold = [(site, layer) for site in (Site.ATTN_OUT, Site.MLP_OUT) for layer in range(3)]
    change = random_like(case.cache.embed, seed=4).float()
    run = frozen_run(
        case.model, case.cache, {(Site.EMBED, 0): lambda t: t + change},
        [(Site.RESID_POST, 2), (Site.ATTN_OUT, 1)], hold=hold,
    )  # fmt: skip
    frozen = FrozenModel(case.model, case.cache)
    moved = frozen.norm_jvp(Site.EMBED_NORM, 0, change)
    for layer in range(3):
        moved = frozen.norm_jvp(Site.RESID_MID_NORM, layer, moved)
        moved = frozen.norm_jvp(Site.RESID_POST_NORM, layer, moved)
    wanted = case.cache.resid[Site.RESID_POST, 2] + moved
    assert relative_error(run[Site.RESID_POST, 2][0], wanted) < 1e-5
    assert torch.equal(run[Site.ATTN_OUT, 1][0], case.cache.attn_out[1])


def test_every_causal_family_is_traced(case: Case) -> None:
    settings = TraceSettings(tuple(IDS), targets=(Logit(10),), units="neurons", max_nodes=60)
    if not case.model.anatomy.causal:
        with pytest.raises(TraceError, match="causal"):
            trace(case.model, settings)
        return
    circuit = trace(case.model, settings)
    measured(case.name, "trace", float(circuit.conservation.max()), 1e-4)
    raw = case.cache.raw_logits[-1, 10]
    assert float(circuit.preactivation[circuit.roots[0]]) == pytest.approx(float(raw), rel=1e-5)
    checked = verify(case.model, circuit, effect="direct")
    worst = np.abs(checked.measured - checked.predicted).max()
    measured(case.name, "trace", float(worst / np.abs(checked.predicted).max()), 1e-4)


EDITS = [
    Site.EMBED, Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST, Site.ATTN_IN, Site.HEAD_Z,
    Site.ATTN_OUT, Site.MLP_IN, Site.MLP_HIDDEN, Site.MLP_OUT,
]  # fmt: skip


def plain_hook(
    case: Case, site: Site, layer: int, edit: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """Return logits of the reference module with one forward hook; None where it has no place."""
    places = dict(hugging_face_places(case.reference, layer))
    if site is Site.RESID_MID and site not in places and not case.model.anatomy.parallel_blocks:
        # What attention adds is changed by as much as the residual stream should be.
        before = case.cache.resid[Site.RESID_PRE, layer]
        middle = places[Site.ATTN_OUT][0]
        handle = middle.register_forward_hook(lambda _m, _i, o: edit(before + o) - before)
    elif site not in places:
        return None
    elif places[site][1]:
        handle = places[site][0].register_forward_pre_hook(
            lambda _m, args: (edit(args[0]), *args[1:])
        )
    else:
        handle = places[site][0].register_forward_hook(lambda _m, _i, output: edit(output))
    with torch.no_grad():
        logits: Tensor = case.reference(torch.tensor([IDS])).logits[0]
    handle.remove()
    return logits


def test_interventions_equal_a_plain_hook(case: Case) -> None:
    for site in EDITS:
        shape = case.cache.site(site, 1).flatten(1).shape
        value = random_like(torch.zeros(2, shape[1])).float()

        def edit(tensor: Tensor, value: Tensor = value) -> Tensor:
            new = tensor.clone()
            new[:, [2, 6]] = value.expand_as(new[:, [2, 6]])
            return new

        wanted = plain_hook(case, site, 1, edit)
        if wanted is None:
            continue
        shaped = value.reshape(2, *case.cache.site(site, 1).shape[1:]).numpy()
        change = Intervention(site, 1, positions=[2, -2], mode="set", value=shaped)
        found = torch.from_numpy(case.model.run(IDS, [change]).logits)
        measured(case.name, "hooks", relative_error(found, wanted), 1e-5)
        assert relative_error(found, case.cache.logits) > 1e-3, site


def test_the_lens_ends_with_what_the_model_says(case: Case) -> None:
    if case.model.anatomy.labels:
        with pytest.raises(ModelError, match="no logits over tokens"):
            lens(case.model, IDS)
        return
    grid = lens(case.model, IDS, top=3)
    with torch.no_grad():
        chances = case.reference(torch.tensor([IDS])).logits[0].softmax(-1)
    wanted = chances.topk(3).values
    assert grid.values.shape == (case.model.anatomy.n_layers + 1, len(IDS), 3)
    measured(case.name, "lens", relative_error(torch.from_numpy(grid.values[-1]), wanted), 1e-5)


def test_half_precision_is_read_in_float32(case: Case, tmp_path: Path) -> None:
    copy.deepcopy(case.reference).to(torch.bfloat16).save_pretrained(tmp_path)
    half = load_model(tmp_path, "cpu", "bfloat16")
    same = load_model(tmp_path, "cpu", "float32")
    assert half.check is not None
    assert half.check.passed, half.check.words
    ours, wanted = capture(half, IDS), capture(same, IDS)
    measured(case.name, "halves", relative_error(ours.logits, wanted.logits), 1e-5)
    if case.model.anatomy.causal:
        settings = TraceSettings(tuple(IDS), targets=(Logit(10),), units="neurons", max_nodes=20)
        circuit = trace(half, settings)
        measured(case.name, "halves", float(circuit.conservation.max()), 1e-4)
        edges = trace(same, settings).edges.weight
        worst = np.abs(circuit.edges.weight - edges).max() / np.abs(edges).max()
        measured(case.name, "halves", float(worst), 1e-4)
    if case.model.anatomy.architecture in known_architectures():
        ours, wanted = (decompose(m, IDS, [Head(1, 0)]).relevant for m in (half, same))
        measured(case.name, "halves", float(abs(ours - wanted).max() / abs(wanted).max()), 1e-4)
