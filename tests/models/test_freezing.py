import pytest
import torch

from circuitscope.core.anatomy import Site
from circuitscope.models.freezing import frozen_run
from circuitscope.models.loading import LoadedModel

IDS = [1, 5, 6, 7, 3]


def test_the_exact_model_moves_where_the_frozen_one_does_not(gpt2: LoadedModel) -> None:
    """The effect of zeroing one word's embedding: linear when frozen, not in the real model."""
    cache = gpt2.capture(IDS)

    def scale(by: float) -> torch.Tensor:
        def edit(tensor: torch.Tensor) -> torch.Tensor:
            tensor[:, 2] *= by
            return tensor

        run = frozen_run(gpt2, cache, {(Site.EMBED, 0): edit})
        return run[Site.LOGITS, 0][0] - cache.logits

    torch.testing.assert_close(scale(0.0), -scale(2.0), rtol=1e-4, atol=1e-5)


def test_head_is_edited_with_its_own_axis(llama: LoadedModel) -> None:
    cache = llama.capture(IDS)

    def drop(z: torch.Tensor) -> torch.Tensor:
        assert z.shape == (2, 5, 4, 4)
        z[1, :, 3] = 0
        return z

    run = frozen_run(
        llama, cache, {(Site.HEAD_Z, 1): drop}, [(Site.ATTN_OUT, 1), (Site.HEAD_Z, 1)], batch=2
    )
    lost = run[Site.ATTN_OUT, 1][0] - run[Site.ATTN_OUT, 1][1]
    W_O = llama.family.attention_weights(llama.module, 1).W_O
    torch.testing.assert_close(lost, cache.head_z[1][:, 3] @ W_O[3], rtol=1e-4, atol=1e-5)


def test_held_hidden_values_keep_the_mlp_silent(llama: LoadedModel) -> None:
    cache = llama.capture(IDS)
    run = frozen_run(
        llama, cache, {(Site.RESID_MID, 1): torch.zeros_like},
        [(Site.MLP_OUT, 1), (Site.RESID_POST, 1)], hold=[(Site.MLP_HIDDEN, 1)],
    )  # fmt: skip
    torch.testing.assert_close(run[Site.MLP_OUT, 1][0], cache.mlp_out[1])
    torch.testing.assert_close(run[Site.RESID_POST, 1][0], cache.mlp_out[1])


def test_sites_that_cannot_be_held_are_our_own_mistake(llama: LoadedModel) -> None:
    with pytest.raises(AssertionError, match="mlp_in cannot be held"):
        frozen_run(llama, llama.capture(IDS), hold=[(Site.MLP_IN, 0)])
