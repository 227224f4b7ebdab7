"""The check of a dictionary on a text: numbers, neighbours, splicing, provenance."""

import json

import numpy as np
import pytest
import torch
from sae_lens_writer import write_sae, write_set
from safetensors.torch import save_file

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import DictionaryMismatch
from circuitscope.core.settings import TraceSettings
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.self_check import check_dictionaries
from circuitscope.models.capture import capture
from circuitscope.models.loading import load_model
from circuitscope.tracing.method import trace
from circuitscope.tracing.reopen import dictionaries_of

IDS = (1, 3, 4, 5, 9, 2, 7, 11)


@pytest.fixture(scope="module")
def model(tiny_llama):
    return load_model(tiny_llama, device="cpu")


def exact_transcoder(folder, model, site: Site, declared: str):
    """Write a transcoder that rebuilds layer 0's MLP on IDS exactly, reading one site.

    One feature a position: its encoder is the dual of that position's vector, so it alone is
    active there, with activation one, and its decoder is what the MLP wrote.
    """
    cache = capture(model, IDS)
    x, out = cache.site(site, 0), cache.site(Site.MLP_OUT, 0)
    W_enc = torch.linalg.pinv(x.double()).float()
    write_sae(folder, declared, 0, "transcoder", n=len(IDS), apply_b_dec_to_input=False)
    tensors = {
        "W_enc": W_enc.contiguous(), "b_enc": torch.full((len(IDS),), -1e-3),
        "W_dec": out / (1 - 1e-3), "b_dec": torch.zeros(16),
    }  # fmt: skip
    save_file(tensors, folder / "sae_weights.safetensors")
    return load_dictionaries(folder)


def test_an_exact_transcoder_explains_everything_and_costs_nothing(model, tmp_path):
    found = exact_transcoder(tmp_path / "one", model, Site.MLP_IN, "transcoder")
    (check,) = check_dictionaries(model, IDS, found)
    assert check.explained_variance > 0.999
    assert check.l0 == 1
    assert check.silent_share == 0
    assert check.promised_l0 is None
    assert check.spliced_loss == pytest.approx(check.loss, abs=1e-3)
    assert (check.better_site, check.advice) == (None, "")


def test_a_wrongly_declared_site_is_found(model, tmp_path):
    found = exact_transcoder(tmp_path / "one", model, Site.MLP_IN, "resid_mid")
    (check,) = check_dictionaries(model, IDS, found)
    assert check.read_site is Site.RESID_MID
    assert check.explained_variance < 0.5
    assert (check.better_site, check.better_variance) == (Site.MLP_IN, pytest.approx(1, abs=1e-3))
    assert "declared resid_mid" in check.advice
    assert "mlp_in: 1.00" in check.advice
    (moved,) = check_dictionaries(model, IDS, [found[0].reading(Site.MLP_IN)])
    assert moved.explained_variance > 0.999


def test_splicing_runs_the_model_with_the_reconstruction(model, tmp_path):
    folder = write_sae(tmp_path / "one", "mlp_out", 1, "standard", metrics={"l0": 3.0})
    (check,) = check_dictionaries(model, IDS, load_dictionaries(folder))
    assert check.promised_l0 == 3.0
    assert abs(check.spliced_loss - check.loss) > 1e-3
    dictionary = load_dictionaries(folder)[0]
    x = capture(model, IDS).site(Site.MLP_OUT, 1)
    rebuilt = dictionary.decode(dictionary.encode(x), len(x), x)
    rebuilt[0] = x[0]

    def put(hooks) -> None:
        hooks.edit_site(Site.MLP_OUT, 1, lambda tensor: rebuilt[None])

    logits = capture(model, IDS, put).logits[:-1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(IDS[1:]))
    assert check.spliced_loss == pytest.approx(float(loss), abs=1e-4)
    assert json.dumps(check.as_json())


def test_every_layer_of_a_set_is_checked(model, tmp_path):
    checks = check_dictionaries(model, IDS, load_dictionaries(write_set(tmp_path / "set")))
    assert len(checks) == 6
    assert all(np.isfinite(check.spliced_loss) for check in checks)
    wide = load_dictionaries(write_sae(tmp_path / "wide", "mlp_out", 0, d=20))
    with pytest.raises(DictionaryMismatch):
        check_dictionaries(model, IDS, wide)


def test_what_was_found_stands_in_the_provenance_and_a_chosen_site_is_kept(model, tmp_path):
    found = exact_transcoder(tmp_path / "one", model, Site.MLP_IN, "resid_mid")
    settings = TraceSettings(prompt=IDS, mlp="transcoder", units="features", max_nodes=64)
    told = trace(model, settings, found).provenance
    assert any("explained here by one; a check" in remark for remark in told.remarks)
    assert told.dictionaries[0]["here"]["silent_share"] >= 0
    circuit = trace(model, settings, [found[0].reading(Site.MLP_IN)])
    assert not any("a check" in remark for remark in circuit.provenance.remarks)
    assert circuit.provenance.dictionaries[0]["here"]["explained_variance"] > 0.999
    (reopened,) = dictionaries_of(circuit, None)
    assert reopened.card.read_site is Site.MLP_IN
