"""Folded attention pulls packed rows back exactly as the frozen model does."""

import pytest
import torch

from circuitscope.models.capture import capture
from circuitscope.models.folded import fold_attention
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.loading import load_model


@pytest.mark.parametrize("name", ["tiny_gpt2", "tiny_llama"])
def test_folded_attention_equals_the_frozen_models(name, request):
    model = load_model(request.getfixturevalue(name), device="cpu")
    frozen = FrozenModel(model, capture(model, (1, 3, 4, 5, 6)))
    generator = torch.Generator().manual_seed(0)
    d_model, heads = model.anatomy.d_model, model.anatomy.n_heads * model.anatomy.d_head
    lengths = [5, 5, 3, 1]
    blocks = [torch.randn(n, d_model, generator=generator) for n in lengths]
    with torch.no_grad():
        for layer in range(model.anatomy.n_layers):
            packed = torch.cat(blocks).clone()
            room = (torch.empty(len(packed), heads), torch.empty(len(packed), heads))
            folded = fold_attention(frozen, layer)
            room = (room[0], room[1][:, : len(folded.write)].contiguous())
            folded.pull(packed, [(0, 2, 5), (10, 1, 3), (13, 1, 1)], room)
            expected = torch.cat([g + frozen.attn_vjp(layer, g[None])[0] for g in blocks])
            assert torch.allclose(packed, expected, atol=1e-5, rtol=1e-5)
