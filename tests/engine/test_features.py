"""A feature on a text: also where its dictionary was read at another site than it declares."""

import numpy as np
import pytest

from circuitscope.core.errors import ModelError
from circuitscope.core.progress import silent
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.engine.answers import Holdings
from circuitscope.engine.features import ReadFeature, read_feature
from circuitscope.engine.requests import ModelChoice
from circuitscope.models.capture import capture
from circuitscope.models.loading import load_model

ATLAS = shipped_path("projects", "atlas")
TEXT = "the capital of the state containing Dallas is"


def test_a_feature_of_a_moved_dictionary_is_read_where_the_circuit_read_it() -> None:
    folder = str(ATLAS / "dictionaries" / "mlp_out_2")
    moved = load_dictionaries(folder, read_at="resid_mid")[0]
    model = load_model(ATLAS / "model", "cpu")
    cache = capture(model, model.prompt(TEXT).token_ids)
    active = moved.encode(cache.site(moved.card.read_site, 2))
    unit = int(active.unit[active.position == 8][0])
    expected = np.zeros(len(cache.token_ids))
    mine = active.unit == unit
    expected[active.position[mine].numpy()] = active.value[mine].numpy()
    choice = ModelChoice(str(ATLAS / "model"), "cpu")
    asked = ReadFeature(
        choice, TEXT, (folder,), "resid_mid", 2, unit, moved.card.digest, "resid_mid"
    )
    found = read_feature(asked, Holdings(), silent())
    np.testing.assert_allclose(found.activations, expected, atol=1e-4)
    with pytest.raises(ModelError, match="resid_mid"):
        read_feature(
            ReadFeature(choice, TEXT, (folder,), "resid_mid", 2, unit, moved.card.digest),
            Holdings(), silent(),
        )  # fmt: skip
