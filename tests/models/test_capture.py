import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError, PromptError
from circuitscope.models.capture import capture
from circuitscope.models.loading import LoadedModel
from circuitscope.models.self_check import SelfCheck, self_check
from circuitscope.models.weights import Weights


def test_every_part_has_its_shape(llama: LoadedModel) -> None:
    cache = capture(llama, [1, 5, 6, 7, 3])
    assert cache.n_pos == 5
    assert cache.token_ids.tolist() == [1, 5, 6, 7, 3]
    assert cache.pos_embed is None
    assert len(cache.resid) == 6
    assert cache.patterns[0].shape == (4, 5, 5)
    assert cache.values[1].shape == (5, 2, 4)
    assert cache.head_z[1].shape == (5, 4, 4)
    assert cache.mlp_up[0].shape == cache.mlp_gate[0].shape == cache.mlp_hidden[0].shape == (5, 32)
    assert cache.norm_scales[Site.LN_FINAL, 2].shape == (5,)
    assert len(cache.norm_scales) == 5
    assert cache.logits.shape == (5, llama.anatomy.d_vocab)


def test_sites_are_read_by_name(gpt2: LoadedModel) -> None:
    cache = capture(gpt2, [1, 5, 6])
    assert cache.site("resid_pre", 1) is cache.resid[Site.RESID_PRE, 1]
    assert cache.site(Site.MLP_TRANSCODER, 0) is cache.mlp_out[0]
    assert cache.site("pos_embed") is cache.pos_embed
    norm = gpt2.family.norm(gpt2.module, Site.LN1_NORMALIZED, 0)
    again = cache.site("ln1_normalized", 0) * norm.weight + norm.bias
    assert torch.allclose(again, cache.attn_in[0], atol=1e-6)
    with pytest.raises(CircuitScopeError, match="nothing for the site mlp_out in layer 7"):
        cache.site("mlp_out", 7)


def test_capture_keeps_no_graph_and_no_view_of_the_module(gpt2: LoadedModel) -> None:
    cache = capture(gpt2, [1, 5, 6])
    assert not cache.logits.requires_grad
    before = cache.resid[Site.RESID_PRE, 0].clone()
    cache.embed.zero_()
    assert torch.equal(cache.resid[Site.RESID_PRE, 0], before)


@pytest.mark.parametrize("ids", [[], [1] * 33, [10_000]])
def test_ids_that_cannot_be_run(gpt2: LoadedModel, ids: list[int]) -> None:
    with pytest.raises(PromptError):
        capture(gpt2, ids)


def test_self_check_passes_and_reports(llama: LoadedModel) -> None:
    check = self_check(llama)
    assert check.passed
    assert check.worst < 1e-5
    assert set(check.errors) == {"logits", "patterns", "residual", "attention", "mlp"}


def test_self_check_fails_on_numbers_that_are_not() -> None:
    assert not SelfCheck(float("nan"), 0, 0, 0, 0).passed
    assert not SelfCheck(0, 0, 0, 2e-4, 0).passed


def test_weights_of_the_same_dtype_are_views(llama: LoadedModel) -> None:
    weights = Weights(llama, torch.float32)
    module = llama.module.get_submodule("model.layers.0.self_attn.v_proj")
    assert weights.attention(0).W_V.data_ptr() == module.weight.data_ptr()


def test_upcast_weights_do_not_pile_up(llama: LoadedModel) -> None:
    weights = Weights(llama, torch.float64)
    first = weights.mlp(0)
    assert first.W_in.dtype == torch.float64
    assert weights.mlp(0) is first
    weights.mlp(1)
    assert weights.mlp(0) is not first
