"""Changes tried and the lens read through the engine's own answers."""

from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import NodeKey
from circuitscope.core.progress import silent
from circuitscope.engine.answers import Holdings, answer
from circuitscope.engine.arrays import pack, unpack
from circuitscope.engine.requests import ModelChoice
from circuitscope.engine.trials import ReadLens, TryChanges
from circuitscope.session.trials import change_of, unique_changes
from tests.sae_lens_writer import write_set

PROMPT = "the capital of the state containing Dallas is"


def test_a_change_is_told_before_and_after(tiny_llama: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    choice, holdings = ModelChoice(str(tiny_llama), "cpu"), Holdings()
    key = NodeKey.parse("feature/mlp_out/1/7/5")
    wishes = (
        change_of(key, "set", 40.0),
        change_of(NodeKey.parse("head/head_z/0/7/1")),
        change_of(NodeKey.parse("neuron/mlp_hidden/0/3/4"), "add", 2.0, everywhere=True),
        change_of(NodeKey.parse("token/embed/-1/2/4")),
    )
    asked = TryChanges(choice, PROMPT, wishes, (str(tmp_path / "set"),), ("patterns",), n_tokens=3)
    found = answer(asked, holdings, silent())
    assert len(found.tokens) == 9
    assert len(found.before) <= 3
    model = holdings.model(choice, silent())
    plain = model.run(PROMPT).logits[-1].astype(np.float64)
    chances = np.exp(plain - plain.max()) / np.exp(plain - plain.max()).sum()
    for shift in found.shifts:
        assert shift.before == pytest.approx(chances[shift.token_id], rel=1e-5)
    assert any(abs(shift.after - shift.before) > 1e-3 for shift in found.shifts)
    assert len(found.shifts) >= 6
    nothing = answer(TryChanges(choice, PROMPT, ()), holdings, silent())
    assert all(shift.before == shift.after for shift in nothing.shifts)
    assert nothing.before == nothing.after
    with pytest.raises(CircuitScopeError, match="No dictionary here"):
        answer(TryChanges(choice, PROMPT, wishes), holdings, silent())
    grid = answer(ReadLens(choice, PROMPT, 2), holdings, silent())
    parcel, segment = pack(grid, "cs-lens-test")
    again = unpack(parcel)
    segment.close()
    assert again.texts == grid.texts
    assert (again.values == grid.values).all()


def test_one_feature_at_two_places_is_one_change_everywhere() -> None:
    keys = [NodeKey.parse(f"feature/mlp_out/1/{at}/5") for at in (3, 7)]
    assert len(unique_changes(change_of(key) for key in keys)) == 2
    everywhere = unique_changes(change_of(key, everywhere=True) for key in keys)
    assert [change.positions for change in everywhere] == [None]
    assert isinstance(everywhere[0], Intervention)
