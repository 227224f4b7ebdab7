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


@pytest.mark.parametrize("name", ["tiny_gpt2", "tiny_llama"])
def test_lone_places_and_pushes_are_the_same_attention(name, request):
    model = load_model(request.getfixturevalue(name), device="cpu")
    frozen = FrozenModel(model, capture(model, (1, 3, 4, 5, 6)))
    generator = torch.Generator().manual_seed(0)
    d_model, heads = model.anatomy.d_model, model.anatomy.n_heads * model.anatomy.d_head
    lengths = [5, 4, 4, 2]
    blocks = [torch.randn(n, d_model, generator=generator) for n in lengths]
    for block in blocks[1:]:
        block[:-1] = 0
    vectors = torch.randn(3, d_model, generator=generator)
    with torch.no_grad():
        for layer in range(model.anatomy.n_layers):
            packed, folded = torch.cat(blocks).clone(), fold_attention(frozen, layer)
            room = (torch.empty(15, heads), torch.empty(15, len(folded.write)))
            folded.pull(packed, [(0, 1, 5)], room, [(5, 2, 4), (13, 1, 2)])
            expected = torch.cat([g + frozen.attn_vjp(layer, g[None])[0] for g in blocks])
            assert torch.allclose(packed, expected, atol=1e-5, rtol=1e-5)
            pulled = frozen.attn_vjp(layer, blocks[0][None])[0]
            for key in range(5):
                pushed = folded.push(vectors, key, 5)
                read = torch.einsum("qd,qnd->n", blocks[0][key:], pushed)
                assert torch.allclose(read, vectors @ pulled[key], atol=1e-5, rtol=1e-5)
