"""The check of a dictionary on a text: numbers, neighbours, splicing, provenance."""

import json

import numpy as np
import pytest
import torch
from sae_lens_writer import write_exact, write_sae, write_set

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError, DictionaryError, DictionaryMismatch
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


def exact(folder, model, declared: str):
    return load_dictionaries(write_exact(folder, capture(model, IDS), declared))


def test_an_exact_transcoder_explains_everything_and_costs_nothing(model, tmp_path):
    found = exact(tmp_path / "one", model, "transcoder")
    (check,) = check_dictionaries(model, IDS, found)
    assert check.explained_variance > 0.999
    assert check.l0 == 1
    assert check.silent_share == 0
    assert check.promised_l0 is None
    assert check.spliced_loss == pytest.approx(check.loss, abs=1e-3)
    assert (check.better_site, check.advice) == (None, "")


def test_a_wrongly_declared_site_is_found(model, tmp_path):
    found = exact(tmp_path / "one", model, "resid_mid")
    (check,) = check_dictionaries(model, IDS, found)
    assert check.read_site is Site.RESID_MID
    assert check.explained_variance < 0.5
    assert (check.better_site, check.better_variance) == (Site.MLP_IN, pytest.approx(1, abs=1e-3))
    assert "declared resid_mid" in check.advice
    assert "mlp_in: 1.00" in check.advice
    assert check.read_at == "one=mlp_in"
    for read_at in (check.read_at, "mlp_in"):
        moved = load_dictionaries(tmp_path / "one", read_at=read_at)
        assert check_dictionaries(model, IDS, moved)[0].explained_variance > 0.999


def test_a_site_is_chosen_for_transcoders_or_for_one_dictionary_by_name(tmp_path):
    write_set(tmp_path / "set")
    declared = {card.name: card for card in load_dictionaries(tmp_path / "set").cards}
    for read_at, moves in (
        ("resid_mid", {name for name, card in declared.items() if card.is_transcoder}),
        (["attn_out_0=resid_pre"], {"attn_out_0"}),
    ):
        cards = load_dictionaries(tmp_path / "set", read_at=read_at).cards
        assert {c.name for c in cards if c.read_site is not declared[c.name].read_site} == moves
        assert all(c.is_transcoder == declared[c.name].is_transcoder for c in cards)
        assert [c.digest for c in cards] == [c.digest for c in declared.values()]
    with pytest.raises(DictionaryError, match="called 'nobody'"):
        load_dictionaries(tmp_path / "set", read_at="nobody=resid_mid")
    with pytest.raises(CircuitScopeError, match="no site called 'nowhere'"):
        load_dictionaries(tmp_path / "set", read_at="nowhere")


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
    found = exact(tmp_path / "one", model, "resid_mid")
    settings = TraceSettings(prompt=IDS, mlp="transcoder", units="features", max_nodes=64)
    told = trace(model, settings, found).provenance
    assert any("explained here by one; a check" in remark for remark in told.remarks)
    assert told.dictionaries[0]["here"]["silent_share"] >= 0
    circuit = trace(model, settings, [found[0].reading(Site.MLP_IN)])
    assert not any("a check" in remark for remark in circuit.provenance.remarks)
    assert circuit.provenance.dictionaries[0]["here"]["explained_variance"] > 0.999
    (reopened,) = dictionaries_of(circuit, None)
    assert reopened.card.read_site is Site.MLP_IN
