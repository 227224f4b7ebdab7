from dataclasses import replace

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.models.family import Part
from circuitscope.models.lens import lens
from circuitscope.models.loading import LoadedModel

PROMPT = "the capital of the state containing Dallas is"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_last_row_is_what_the_model_says(name: str, request: pytest.FixtureRequest) -> None:
    model: LoadedModel = request.getfixturevalue(name)
    grid = cs.lens(model, PROMPT, top=3)
    run = model.run(PROMPT)
    assert grid.axes == ("layer", "position", "rank")
    assert grid.ticks[0] == ("embed", "0", "1")
    assert grid.ticks[1] == run.tokens
    assert grid.values.shape == (3, 9, 3)
    chances = torch.softmax(torch.from_numpy(run.logits).double(), -1).numpy()
    ids = np.array(grid.ids).reshape(grid.values.shape)
    assert (ids[-1] == np.argsort(-run.logits, axis=1, kind="stable")[:, :3]).all()
    assert np.allclose(grid.values[-1], np.take_along_axis(chances, ids[-1], 1), atol=1e-6)
    assert grid.texts[0] == model.token_text(grid.ids[0])
    norm = model.module.get_submodule(model.family.parts[Part.LN_FINAL])
    with torch.no_grad():
        state = torch.from_numpy(run.site("resid_mid", 0) + run.site("mlp_out", 0))
        wanted = torch.softmax(model.module.lm_head(norm(state)), -1).max(-1).values
    assert np.allclose(grid.values[1, :, 0], wanted.numpy(), atol=1e-5)


def test_a_head_that_holds_more_is_run_whole(llama: LoadedModel) -> None:
    """Without its last norm the short way gives other logits, so the whole model is run."""
    parts = {part: path for part, path in llama.family.parts.items() if part is not Part.LN_FINAL}
    headless = replace(llama, family=replace(llama.family, parts=parts))
    found, wanted = lens(headless, PROMPT), lens(llama, PROMPT)
    assert found.ids == wanted.ids
    assert np.allclose(found.values, wanted.values, atol=1e-6)


def test_the_lens_is_stored_with_its_tokens(llama: LoadedModel) -> None:
    grid = cs.lens(llama, PROMPT, top=2)
    with cs.new_project() as project:
        again = project.read_finding(project.add_finding(grid, "lens"))
        assert again.texts == grid.texts
        assert again.ids == grid.ids
        assert (again.values == grid.values).all()
