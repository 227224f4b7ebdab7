import zlib
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from circuitscope.core.errors import DamagedProject
from circuitscope.project.arrays import DTYPES, Blob, decompress, digest, pack, unpack


@given(
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda name: arrays(np.dtype(name), array_shapes(min_dims=0, max_dims=3, min_side=0))
    )
)
def test_any_array_reads_back_equal(array: np.ndarray) -> None:
    back = unpack(pack("x", array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == np.ascontiguousarray(array).tobytes()
    assert not back.flags.writeable


def test_big_endian_and_strided_arrays_read_back_equal() -> None:
    array = np.arange(20, dtype=">f4")[::3]
    np.testing.assert_array_equal(unpack(pack("x", array)), array)


def test_zlib_stays_readable() -> None:
    array = np.arange(1000, dtype=np.int32)
    blob = replace(pack("x", array), codec="zlib", data=zlib.compress(array.tobytes()))
    np.testing.assert_array_equal(unpack(blob), array)


def test_objects_are_our_mistake() -> None:
    with pytest.raises(AssertionError):
        pack("x", np.array([{}], object))


def test_every_flipped_byte_is_seen() -> None:
    blob = pack("x", np.arange(40, dtype=np.float32))
    for place in range(len(blob.data)):
        data = bytearray(blob.data)
        data[place] ^= 0x40
        try:
            back = unpack(replace(blob, data=bytes(data)))
        except DamagedProject:
            continue
        np.testing.assert_array_equal(back, np.arange(40, dtype=np.float32))


@pytest.mark.parametrize("codec", ["zstd", "zlib"])
def test_bomb_is_refused_before_it_grows(codec: str) -> None:
    size = 2**24
    raw = bytes(size)
    data = zstandard.compress(raw) if codec == "zstd" else zlib.compress(raw)
    blob = Blob("x", "uint8", "[100]", codec, digest("x", "uint8", "[100]", raw[:100]), data)
    with pytest.raises(DamagedProject, match="holds more"):
        unpack(blob)
    with pytest.raises(DamagedProject, match="more than"):
        unpack(replace(blob, shape=f"[{2**20}, {2**20}]"))


def test_zstd_without_a_stated_size_is_refused() -> None:
    packer = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(ValueError, match="more than it says"):
        decompress("zstd", packer.compress(b"abc"), 3)
