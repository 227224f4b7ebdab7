"""Arrays as compressed blobs with a digest that is checked whenever they are read.

A blob says what it holds (dtype, shape) and how it is packed (codec); the sha256 digest covers
name, dtype, shape and bytes. New blobs are zstd level 3; zlib stays readable. The size after
unpacking is known beforehand, so a small blob cannot grow into a large one.
"""

import hashlib
import json
import math
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from circuitscope.core.errors import DamagedProject, ProjectError
from circuitscope.project.texts import parse

LEVEL: Final = 3
CODEC: Final = "zstd"
"""How new blobs are packed."""
MAX_BYTES: Final = 2**28
"""No array is larger than this after unpacking; 64 million edges."""
DTYPES: Final = frozenset(
    ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
)
"""Numbers in little-endian order; no objects, no strings, no structures."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A packed array, one row of table `array` without its owner."""

    name: str
    dtype: str
    shape: str
    codec: str
    digest: str
    data: bytes


def pack(name: str, array: NDArray) -> Blob:
    """Pack an array of a whitelisted dtype.

    Raises:
        ProjectError: It is too large.
    """
    assert array.dtype.name in DTYPES, f"{name} has dtype {array.dtype}"
    if array.nbytes > MAX_BYTES:
        raise ProjectError(
            f"The array {name!r} has {array.nbytes / 2**20:.0f} MB; a project takes "
            f"{MAX_BYTES // 2**20} MB each.",
            kept="The project is unchanged.",
            hint="Keep fewer nodes or edges.",
        )
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    shape = json.dumps(list(array.shape))
    raw = plain.tobytes()
    codec, data = compress(raw)
    checksum = digest(name, array.dtype.name, shape, raw)
    return Blob(name, array.dtype.name, shape, codec, checksum, data)


def unpack(blob: Blob, limit: int = MAX_BYTES) -> NDArray:
    """Return the array of a blob, read-only.

    Args:
        blob: From a file, so nothing in it is trusted.
        limit: Most bytes it may hold.

    Raises:
        DamagedProject: Its dtype, shape, codec or digest is wrong.
    """
    shape, size = _shape(blob), claimed(blob)
    if size > limit:
        raise damaged(blob.name, f"claims {size} bytes, more than the {limit} allowed")
    try:
        raw = decompress(blob.codec, blob.data, size)
    except ValueError as error:
        raise damaged(blob.name, str(error)) from None
    if len(raw) != size:
        raise damaged(blob.name, f"holds {len(raw)} bytes instead of {size}")
    if digest(blob.name, blob.dtype, blob.shape, raw) != blob.digest:
        raise damaged(blob.name, "does not match its digest")
    flat = np.frombuffer(raw, np.dtype(blob.dtype).newbyteorder("<"))
    native = flat.astype(np.dtype(blob.dtype), copy=False).reshape(shape)
    native.flags.writeable = False
    return native


def claimed(blob: Blob) -> int:
    """Return how many bytes a blob says that it unpacks to.

    Raises:
        DamagedProject: Its dtype or shape is none.
    """
    return math.prod(_shape(blob)) * np.dtype(blob.dtype).itemsize


def _shape(blob: Blob) -> tuple[int, ...]:
    if blob.dtype not in DTYPES:
        raise damaged(blob.name, f"has the type {blob.dtype!r}")
    try:
        shape = parse(blob.shape)
    except ValueError:
        shape = None
    sound = isinstance(shape, list) and len(shape) <= 8
    if not sound or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape):
        raise damaged(blob.name, "has no readable shape")
    return tuple(shape)


def damaged(name: str, what: str) -> DamagedProject:
    """Return the error for a part of a project that cannot be trusted."""
    return DamagedProject(
        f"The array {name!r} {what}.",
        kept="The file is unchanged, and its other parts can still be read.",
        hint="Open a backup, or run “circuitscope check” on the file to see what is damaged.",
    )


def digest(name: str, dtype: str, shape: str, raw: bytes) -> str:
    """Return sha256 over what an array is and what it holds."""
    total = hashlib.sha256(f"{name}|{dtype}|{shape}|".encode())
    total.update(raw)
    return total.hexdigest()


def compress(raw: bytes) -> tuple[str, bytes]:
    """Pack bytes; returns codec and data."""
    return CODEC, zstandard.ZstdCompressor(level=LEVEL).compress(raw)


def packer_of(size: int) -> Any:
    """Return what packs `size` bytes piece by piece, as `compress` does at once."""
    return zstandard.ZstdCompressor(level=LEVEL).compressobj(size=size)


def decompress(codec: str, data: bytes, limit: int) -> bytes:
    """Unpack bytes into at most `limit` bytes of memory.

    Raises:
        ValueError: The codec is unknown, or the data is not that or holds more.
    """
    if codec == "zstd":
        return _unpack_zstd(data, limit)
    if codec == "zlib":
        unpacker = zlib.decompressobj()
        try:
            raw = unpacker.decompress(data, limit + 1)
        except zlib.error:
            raise ValueError("cannot be unpacked") from None
        if len(raw) > limit:
            raise ValueError("holds more than it says")
        return raw
    raise ValueError(f"is packed with {codec!r}, which is not known here")


def _unpack_zstd(data: bytes, limit: int) -> bytes:
    try:
        # The size in the frame is what zstandard allocates, whatever max_output_size says.
        claimed = zstandard.get_frame_parameters(data).content_size
        if claimed > limit:
            raise ValueError("holds more than it says")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=max(limit, 1))
    except zstandard.ZstdError:
        raise ValueError("cannot be unpacked") from None
