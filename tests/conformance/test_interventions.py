"""Interventions in every model family equal what plain forward hooks on the module do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import ModelError
from circuitscope.core.intervention import Intervention
from circuitscope.models.capture import capture
from circuitscope.models.family import part_module, site_place
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.places import has_site, n_heads
from circuitscope.models.self_check import relative_error
from tests.conformance.table import measured
from tests.conformance.variants import IDS, VARIANTS, make_folder

OTHER = [1, 9, 30, 4, 17, 2, 8, 11]
AT = [2, 6]
STREAMS = (
    "embed", "resid_pre", "resid_post", "attn_in", "attn_out", "mlp_in", "mlp_hidden", "mlp_out",
)  # fmt: skip


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    architecture, settings = VARIANTS[request.param]
    folder = tmp_path_factory.mktemp("interventions") / request.param
    return load_model(make_folder(folder, architecture, settings), "cpu")


def name_of(model: LoadedModel) -> str:
    return model.path.name


@contextmanager
def hooked(module: nn.Module, side: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Register one plain hook."""

    def before(_: nn.Module, args: tuple, named: dict) -> tuple:
        if args:
            return (change(args[0].clone()), *args[1:]), named
        return args, named | {"hidden_states": change(named["hidden_states"].clone())}

    def after(_: nn.Module, args: tuple, out: Tensor | tuple) -> Tensor | tuple:
        if isinstance(out, tuple):
            return (change(out[0].clone()), *out[1:])
        return change(out.clone())

    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True)
        if side == "input"
        else module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()


def plain(model: LoadedModel) -> Tensor:
    with torch.no_grad():
        return model.module(input_ids=torch.tensor([IDS])).logits[0]


def seen(model: LoadedModel, ids: list[int], site: str) -> Tensor:
    """Return what a site holds in a plain run, [pos, width], by a plain hook."""
    part, side = site_place(model.family, Site.parse(site)) or ("", "")
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor[0])
        return tensor

    with hooked(part_module(model.family, model.module, part, 1), side, keep), torch.no_grad():
        model.module(input_ids=torch.tensor([ids]))
    return found[0]


@pytest.mark.parametrize("site", STREAMS)
def test_every_mode_equals_a_plain_hook(model: LoadedModel, site: str) -> None:
    if not has_site(model, Site.parse(site)):
        pytest.skip(f"{model.anatomy.architecture} has no {site}")
    part, side = site_place(model.family, Site.parse(site)) or ("", "")
    module = part_module(model.family, model.module, part, 1)
    here, there = seen(model, IDS, site), seen(model, OTHER, site)
    vector = torch.linspace(-1, 2, here.shape[-1])
    layer = 0 if site == "embed" else 1
    changes = [
        ("zero", None, lambda x: 0 * x),
        ("set", vector.numpy(), lambda x: 0 * x + vector),
        ("add", vector.numpy(), lambda x: x + vector),
        ("scale", -1.5, lambda x: -1.5 * x),
        ("mean", None, lambda x: 0 * x + here.mean(0)),
        ("swap", OTHER, lambda x: 0 * x + there[AT]),
    ]
    without = plain(model)
    # The modes are one code for all sites: all are tried at one, two of them everywhere.
    for mode, value, rule in changes if site == "mlp_out" else changes[2::3]:

        def change(tensor: Tensor, rule: Callable[[Tensor], Tensor] = rule) -> Tensor:
            tensor[:, AT] = rule(tensor[:, AT])
            return tensor

        with hooked(module, side, change):
            wanted = plain(model)
        wish = Intervention(site, layer, positions=AT, mode=mode, value=value)
        found = torch.from_numpy(model.run(IDS, [wish]).logits)
        measured(name_of(model), "hooks", relative_error(found, wanted), 1e-6)
        assert relative_error(wanted, without) > 1e-4, f"{mode} changes nothing"


@pytest.mark.parametrize("name", ["W_Q", "W_K", "W_V"])
def test_zeroing_a_head_equals_zeroing_its_weights(model: LoadedModel, name: str) -> None:
    site = {"W_Q": Site.HEAD_Q, "W_K": Site.HEAD_K, "W_V": Site.HEAD_V}[name]
    without, head = plain(model), n_heads(model, site) - 1
    found = model.run(IDS, [Intervention(site, 1, head=head)])
    weights = model.family.attention_weights(model.module, 1)
    changed = [getattr(weights, name)[head]]
    bias = getattr(weights, name.replace("W", "b"))
    changed += [] if bias is None else [bias[head]]
    kept = [part.clone() for part in changed]
    try:
        for part in changed:
            part.zero_()
        wanted = plain(model)
    finally:
        for part, was in zip(changed, kept, strict=True):
            part.copy_(was)
    assert relative_error(wanted, without) > 1e-4, "the weights are copies, not views"
    off = relative_error(torch.from_numpy(found.logits), wanted)
    measured(name_of(model), "hooks", off, 1e-5)
    assert relative_error(plain(model), without) == 0


def test_a_changed_pattern_mixes_the_values(model: LoadedModel) -> None:
    """Setting a head's pattern equals a plain hook that writes its mix of values as z."""
    pattern = torch.softmax(torch.linspace(0, 3, len(IDS)), -1)
    wish = Intervention("pattern", 1, head=2, positions=[5], mode="set", value=pattern.numpy())
    found = model.run(IDS, [wish])
    assert relative_error(torch.from_numpy(found.pattern(1)[2, 5]), pattern) < 1e-6
    anatomy, values = model.anatomy, capture(model, IDS).values[1]
    group = 2 // (anatomy.n_heads // anatomy.n_kv_heads)
    z = pattern @ values[:, group]
    lo = 2 * anatomy.d_head

    def change(tensor: Tensor) -> Tensor:
        tensor[:, 5, lo : lo + anatomy.d_head] = z
        return tensor

    part, side = site_place(model.family, Site.HEAD_Z) or ("", "")
    without = plain(model)
    with hooked(part_module(model.family, model.module, part, 1), side, change):
        wanted = plain(model)
    off = relative_error(torch.from_numpy(found.logits), wanted)
    measured(name_of(model), "hooks", off, 1e-5)
    assert relative_error(wanted, without) > 1e-4


def test_freezing_without_a_change_changes_nothing(model: LoadedModel) -> None:
    held = model.run(IDS, freeze=("patterns", "norms"))
    assert relative_error(torch.from_numpy(held.logits), plain(model)) < 1e-5


def test_generation_with_a_cache_equals_generation_without(model: LoadedModel) -> None:
    if not model.anatomy.causal:
        with pytest.raises(ModelError, match="both directions"):
            model.generate(IDS, 3)
        return
    wishes = [
        Intervention("head_q", 1, head=1),
        Intervention("pattern", 0, head=0, units=[1]),
        Intervention("mlp_out", 1, mode="scale", value=-1.5),
        Intervention("resid_post", 0, positions=[9], mode="add", value=2.0),
    ]
    found = model.generate(IDS, 5, wishes)
    ids = list(IDS)
    for _ in found.new_ids:
        now = wishes if len(ids) > 9 else wishes[:3]
        ids.append(int(model.run(ids, now).logits[-1].argmax()))
    assert list(found.token_ids) == ids
