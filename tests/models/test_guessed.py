"""Classes that no family describes: they run, generate, are changed and show their lens."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError, ModelError, TraceError
from circuitscope.core.intervention import Intervention
from circuitscope.core.settings import TraceSettings
from circuitscope.core.sources import Head
from circuitscope.models.family import Part
from circuitscope.models.guessed import is_guessed
from circuitscope.models.lens import lens
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.places import EDITABLE, has_site
from circuitscope.models.self_check import relative_error
from circuitscope.tracing.method import trace
from circuitscope.tracing.splitting import decompose
from tests.conformance.variants import make_folder

IDS = [3, 1, 7, 5, 2, 9]
AT = [2, 4]
SIZE = {"vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 3, "max_position_embeddings": 32}
HEADS = SIZE | {"num_attention_heads": 4, "intermediate_size": 20}
OPT = SIZE | {"num_attention_heads": 4, "ffn_dim": 20, "word_embed_proj_dim": 16}
KINDS: dict[str, tuple[str, dict[str, Any], set[Site]]] = {
    "opt": ("OPTForCausalLM", OPT, {Site.HEAD_Q, Site.HEAD_Z, Site.PATTERN}),
    "stablelm": (
        "StableLmForCausalLM", HEADS | {"num_key_value_heads": 2},
        {Site.HEAD_K, Site.HEAD_Z, Site.PATTERN, Site.MLP_HIDDEN, Site.MLP_OUT},
    ),
    "cohere": (
        "CohereForCausalLM", HEADS | {"num_key_value_heads": 2, "logit_scale": 0.25},
        {Site.HEAD_V, Site.HEAD_Z, Site.PATTERN, Site.MLP_OUT},
    ),
    "mixtral": (
        "MixtralForCausalLM",
        HEADS | {"num_key_value_heads": 2, "num_local_experts": 3, "intermediate_size": 32},
        {Site.HEAD_Q, Site.HEAD_Z, Site.PATTERN},
    ),
    "falcon": (
        "FalconForCausalLM",
        {"vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4},
        {Site.HEAD_Z, Site.ATTN_OUT},
    ),
    "mamba": ("MambaForCausalLM", SIZE | {"state_size": 4}, set()),
    "distilbert": (
        "DistilBertForMaskedLM",
        {"vocab_size": 24, "dim": 16, "n_layers": 3, "n_heads": 4, "hidden_dim": 20,
         "max_position_embeddings": 32},
        {Site.MLP_HIDDEN},
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    architecture, settings, _ = KINDS[kind]
    settings = {"bos_token_id": 1, "eos_token_id": 23, "pad_token_id": 0} | settings
    folder = make_folder(tmp_path_factory.mktemp("guessed") / kind, architecture, settings)
    return load_model(folder, "cpu")


@pytest.fixture(scope="module")
def reference(kind: str, model: LoadedModel) -> Any:
    made = getattr(transformers, KINDS[kind][0]).from_pretrained(
        model.path, attn_implementation="eager"
    )
    return made.eval()


def test_it_runs_as_hugging_face_does(model: LoadedModel, reference: Any) -> None:
    assert is_guessed(model.family)
    assert model.check is None
    run = model.run(IDS)
    with torch.no_grad():
        wanted = reference(torch.tensor([IDS])).logits[0]
    assert relative_error(torch.from_numpy(run.logits), wanted) < 1e-6
    assert run.site("resid_post", 2).shape == (len(IDS), 16)
    again = load_model(model.path, "cpu", "bfloat16")
    assert relative_error(torch.from_numpy(again.run(IDS).logits), wanted) < 0.1


def test_it_generates_as_hugging_face_does(model: LoadedModel, reference: Any) -> None:
    if not model.anatomy.causal:
        with pytest.raises(ModelError, match="both directions"):
            model.generate(IDS, 3)
        return
    made = model.generate(IDS, 5)
    with torch.no_grad():
        wanted = reference.generate(
            torch.tensor([IDS]), max_new_tokens=5, do_sample=False, pad_token_id=0
        )
    assert list(made.token_ids) == wanted[0].tolist()
    plain = model.generate(IDS, 3, [Intervention("resid_post", 1, mode="scale", value=-2.0)])
    with _hook(reference, model.family.parts[Part.BLOCK].format(layer=1), lambda x: -2.0 * x):
        ids = list(IDS)
        for _ in range(3):
            with torch.no_grad():
                ids.append(int(reference(torch.tensor([ids])).logits[0, -1].argmax()))
    assert list(plain.token_ids) == ids[: len(plain.token_ids)]


class _hook:  # noqa: N801 - used like a function
    def __init__(self, module: Any, path: str, change: Callable[[Tensor], Tensor]) -> None:
        def after(_m: Any, _i: Any, out: Any) -> Any:
            if isinstance(out, tuple):
                return (change(out[0]), *out[1:])
            return change(out)

        self._handle = module.get_submodule(path).register_forward_hook(after)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def test_its_sites_are_changed_as_by_plain_hooks(
    kind: str, model: LoadedModel, reference: Any
) -> None:
    always = {Site.EMBED, Site.RESID_PRE, Site.RESID_POST}
    found = {site for site in EDITABLE if has_site(model, site)}
    assert found >= always | KINDS[kind][2]
    assert Site.RESID_MID not in found, "what the MLP reads is not known"
    value = np.linspace(-1, 1, 16, dtype=np.float32)
    whole = torch.from_numpy(model.run(IDS).logits)
    outputs = {
        Site.EMBED: Part.EMBED, Site.RESID_POST: Part.BLOCK, Site.ATTN_OUT: Part.ATTENTION_WRITE,
        Site.MLP_OUT: Part.MLP_WRITE,
    }  # fmt: skip
    for site in found:
        if site in outputs:

            def put(x: Tensor) -> Tensor:
                new = x.clone()
                new[:, AT] = torch.from_numpy(value)
                return new

            path = model.family.parts[outputs[site]].format(layer=1)
            with _hook(reference, path, put), torch.no_grad():
                wanted = reference(torch.tensor([IDS])).logits[0]
            wish = Intervention(site, 1, positions=AT, mode="set", value=value)
            ours = torch.from_numpy(model.run(IDS, [wish]).logits)
            assert relative_error(ours, wanted) < 1e-6, site
        else:
            ours = torch.from_numpy(model.run(IDS, [Intervention(site, 1, mode="zero")]).logits)
        assert relative_error(ours, whole) > 1e-5, f"{site} changes nothing"
    absent = next(site for site in EDITABLE if site not in found)
    with pytest.raises(ModelError, match="cannot act on"):
        model.run(IDS, [Intervention(absent, 1)])


def test_its_lens_ends_with_what_it_says(model: LoadedModel) -> None:
    grid = lens(model, IDS, top=3)
    chances = torch.from_numpy(model.run(IDS).logits).softmax(-1)
    assert relative_error(torch.from_numpy(grid.values[-1]), chances.topk(3).values) < 1e-5
    assert grid.values.shape == (4, len(IDS), 3)


def test_it_is_not_traced_and_says_why(model: LoadedModel) -> None:
    name = model.anatomy.architecture
    for ask in (
        lambda: trace(model, TraceSettings(tuple(IDS))),
        lambda: trace(model, TraceSettings(tuple(IDS), method="contextual")),
        lambda: trace(model, TraceSettings(tuple(IDS), method="attribution")),
    ):
        with pytest.raises(TraceError, match=f"{name} is a class whose arithmetic") as caught:
            ask()
        assert "It runs" not in caught.value.message
        assert "runs, generates" in caught.value.kept
    with pytest.raises(CircuitScopeError, match=name):
        decompose(model, IDS, [Head(0, 1)])
    with pytest.raises(ModelError, match="cannot be frozen"):
        model.run(IDS, freeze=("patterns",))
