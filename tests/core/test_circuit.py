"""Circuits, keys, targets and settings as plain data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.settings import Direction, Logit, LogitDifference, TraceSettings


@given(
    st.sampled_from(NodeKind), st.sampled_from(Site), st.integers(-1, 200), st.integers(-1, 9999),
    st.integers(-1, 2**60),
)  # fmt: skip
def test_keys_survive_their_text_form(kind, site, layer, position, unit) -> None:
    key = NodeKey(kind, site, layer, position, unit)
    assert NodeKey.parse(str(key)) == key


def test_an_error_and_a_layer_0_feature_never_share_a_name() -> None:
    error = NodeKey(NodeKind.ERROR, Site.MLP_OUT, 24, 7, -1)
    feature = NodeKey(NodeKind.FEATURE, Site.MLP_OUT, 0, 7, 24)
    assert str(error) != str(feature)
    with pytest.raises(CircuitScopeError, match="not the name of a node"):
        NodeKey.parse("0_24_7")


def test_evidence_cannot_be_changed(small_circuit: Circuit) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small_circuit.edges.weight[0] = 9
    with pytest.raises(ValueError, match="read-only"):
        small_circuit.nodes.influence[0] = 9


def test_rows_sum_to_the_preactivation(small_circuit: Circuit) -> None:
    for node in np.flatnonzero(small_circuit.expanded):
        total = small_circuit.edges.weight[small_circuit.edges.into(node)].sum()
        assert total == pytest.approx(small_circuit.preactivation[node])


def test_inputs_and_outputs_come_strongest_first(small_circuit: Circuit) -> None:
    into = small_circuit.inputs(4)
    assert [edge.source.index for edge in into] == [3, 5, 6]
    assert into[0].share == pytest.approx(1.0 / 1.5)
    assert [edge.target.index for edge in small_circuit.outputs(4)] == [7, 8]
    assert small_circuit.node(2).token == "is"


def test_nodes_are_found_by_key_and_text(small_circuit: Circuit) -> None:
    assert small_circuit.nodes.find("feature/mlp_out/0/7/214") == 3
    assert small_circuit.nodes.find("feature/mlp_out/0/7/215") is None


def test_the_digest_sees_every_array(small_circuit: Circuit) -> None:
    other = small_circuit.with_influence(small_circuit.nodes.influence + 1)
    assert other.digest != small_circuit.digest


def test_settings_and_provenance_survive_json() -> None:
    settings = TraceSettings(
        (1, 2, 3), targets=(Logit("a"), LogitDifference("a", "b"), Direction((1.0,), "up")),
        dictionaries=("x",), read_at=("t0=mlp_in",), max_nodes=None,
    )  # fmt: skip
    assert TraceSettings.from_json(settings.as_json()) == settings
    record = Provenance("direct", settings=settings.as_json(), remarks=("a remark",))
    assert Provenance.from_json(record.to_json()).remarks == ("a remark",)


@pytest.mark.parametrize("home", ["/home/ann/secret", "C:\\Users\\ann\\secret"])
def test_a_published_record_names_no_folder(home) -> None:
    settings = {"prompt": "x", "dictionaries": [f"{home}/sets"]}
    cards = ({"name": "mlp_out_0", "path": f"{home}/sets/mlp_out_0"},)
    record = Provenance(
        "direct", settings=settings, dictionaries=cards, source_file=f"{home}/g.json"
    )
    public = record.without_folders()
    assert "secret" not in public.to_json()
    assert public.dictionaries[0]["path"] == "mlp_out_0"
    assert public.source_file == "g.json"
    assert record.settings["dictionaries"] == [f"{home}/sets"]
