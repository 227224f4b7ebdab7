"""Packing results: arrays go through shared memory and come back equal."""

import secrets

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.engine.arrays import ArrayRef, Record, pack, segment_name, sweep, unpack
from circuitscope.engine.requests import Alternative


@pytest.fixture
def prefix() -> str:
    return f"cst{secrets.token_hex(4)}_"


def test_circuit_comes_back_equal(small_circuit: Circuit, prefix: str) -> None:
    parcel, segment = pack(small_circuit, segment_name(prefix, 0))
    assert segment is not None
    back = unpack(parcel)
    segment.close()
    assert isinstance(back, Circuit)
    assert back.digest == small_circuit.digest
    assert back.labels == small_circuit.labels
    assert back.provenance == small_circuit.provenance
    assert sweep(prefix, 0) == 0, "the segment is gone"


def test_no_array_travels_as_a_list(small_circuit: Circuit, prefix: str) -> None:
    parcel, segment = pack(small_circuit, segment_name(prefix, 0))
    assert segment is not None

    def arrays(value: object) -> int:
        if isinstance(value, Record):
            return sum(arrays(item) for item in value.fields.values())
        assert not isinstance(value, np.ndarray)
        return int(isinstance(value, ArrayRef))

    assert arrays(parcel.content) == 7 + 4 + 6
    unpack(parcel)
    segment.close()


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((0, 3), np.int64), np.arange(24).reshape(2, 3, 4)[:, ::2], np.array(3.5),
        np.array([True, False]),
    ],
)  # fmt: skip
def test_odd_arrays(value: np.ndarray, prefix: str) -> None:
    parcel, segment = pack({"a": [value, "text"]}, segment_name(prefix, 0))
    back = unpack(parcel)["a"][0]
    if segment is not None:
        segment.close()
    np.testing.assert_array_equal(back, value)
    assert back.dtype == value.dtype


def test_result_without_arrays_needs_no_segment(prefix: str) -> None:
    value = (Alternative(3, "Austin", 0.5), None, {"x": 1})
    parcel, segment = pack(value, segment_name(prefix, 0))
    assert segment is None
    assert unpack(parcel) == value


def test_sweep_removes_what_was_left(prefix: str) -> None:
    for number in (2, 3):
        _, segment = pack(np.ones(5), segment_name(prefix, number))
        assert segment is not None
        segment.close()
    assert sweep(prefix, 2) == 2
    assert sweep(prefix, 2) == 0
