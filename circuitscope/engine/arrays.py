"""Carry requests and results between processes: what is large through shared memory.

1. `pack` walks plain data, lays all its arrays end to end in one shared-memory
   segment and puts an `ArrayRef` where each array was.
2. What remains joins them where it is large too, so that the parcel never fills the pipe: a
   window that sends one does not wait for a process that is still starting.
3. `unpack` copies the arrays out, removes the segment and rebuilds the result.

Segments are numbered under a prefix that the receiver chose, so it can remove what a killed
sender left behind (`sweep`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from multiprocessing.reduction import ForkingPickler
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGNMENT = 64
_SWEPT_AHEAD = 16
_BYTES, _REST = "bytes", "rest"
_FEW_BYTES = 4096
_SMALL_REST = 16384


@dataclass(frozen=True, slots=True)
class ArrayRef:
    """Say where in the segment an array, or a long run of bytes, lies."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """A dataclass whose fields are packed."""

    kind: type
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A packed request or result.

    Attributes:
        content: It, with an `ArrayRef` for every array; or one for all of that.
        segment: Name of the shared memory that holds the arrays, "" where there are none.
    """

    content: Any
    segment: str


def segment_name(prefix: str, number: int) -> str:
    """Return the name of a sender's segment; at most 30 characters, as macOS requires."""
    return f"{prefix}{number:x}"


def pack(value: Any, name: str) -> tuple[Parcel, SharedMemory | None]:
    """Move what is large to shared memory.

    Args:
        value: Dataclasses, tuples, lists, dictionaries, arrays and plain values.
        name: Name for the segment.

    Returns:
        The parcel, and the segment, which the sender keeps open until the parcel has arrived
        and closes then; None where there was nothing to share.
    """
    arrays: list[tuple[int, NDArray[Any]]] = []
    size = 0

    def place(item: NDArray[Any] | bytes) -> ArrayRef:
        nonlocal size
        raw = isinstance(item, bytes)
        array = np.frombuffer(item, np.uint8) if isinstance(item, bytes) else item
        assert not array.dtype.hasobject, "arrays of objects do not cross processes"
        offset = size
        arrays.append((offset, np.ascontiguousarray(array)))
        size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        return ArrayRef(_BYTES if raw else array.dtype.str, array.shape, offset)

    content = _replace(value, place)
    rest = bytes(ForkingPickler.dumps(content))
    if len(rest) > _SMALL_REST:
        content = replace(place(rest), dtype=_REST)
    if not size:
        return Parcel(content, ""), None
    segment = SharedMemory(name=name, create=True, size=size)
    for offset, array in arrays:
        view: NDArray[Any] = np.ndarray(array.shape, array.dtype, segment.buf, offset)
        view[...] = array
        del view
    return Parcel(content, name), segment


def unpack(parcel: Parcel) -> Any:
    """Rebuild what was packed and remove its segment; the arrays are own copies, read-only.

    Only for parcels that came through a pipe of ours: the rest is read as the pipe reads it.
    """
    if not parcel.segment:
        return _rebuild(parcel.content, b"")
    segment = SharedMemory(name=parcel.segment)
    try:
        assert segment.buf is not None
        held = bytes(segment.buf)
    finally:
        segment.close()
        segment.unlink()
    content = parcel.content
    if isinstance(content, ArrayRef) and content.dtype == _REST:
        end = content.offset + content.shape[0]
        content = ForkingPickler.loads(held[content.offset : end])  # made by `pack`
    return _rebuild(content, held)


def sweep(prefix: str, first: int) -> int:
    """Remove segments that a killed sender left behind.

    Args:
        prefix: The sender's prefix.
        first: Number after the last segment that arrived.

    Returns:
        How many there were.
    """
    found = 0
    for number in range(first, first + _SWEPT_AHEAD):
        try:
            segment = SharedMemory(name=segment_name(prefix, number))
        except (FileNotFoundError, ValueError):
            continue
        segment.close()
        segment.unlink()
        found += 1
    return found


def _replace(value: Any, place: Callable[[Any], ArrayRef]) -> Any:
    if isinstance(value, np.ndarray) or (isinstance(value, bytes) and len(value) > _FEW_BYTES):
        return place(value)
    if type(value) in (tuple, list):
        return type(value)(_replace(item, place) for item in value)
    if type(value) is dict:
        return {key: _replace(item, place) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        values = {item.name: getattr(value, item.name) for item in fields(value) if item.init}
        return Record(type(value), _replace(values, place))
    return value


def _rebuild(value: Any, held: bytes) -> Any:
    if isinstance(value, ArrayRef):
        if value.dtype == _BYTES:
            return held[value.offset : value.offset + value.shape[0]]
        count = int(np.prod(value.shape, dtype=np.int64))
        if not count:
            return np.zeros(value.shape, value.dtype)
        return np.frombuffer(held, value.dtype, count, value.offset).reshape(value.shape)
    if isinstance(value, Record):
        return value.kind(**{name: _rebuild(item, held) for name, item in value.fields.items()})
    if type(value) in (tuple, list):
        return type(value)(_rebuild(item, held) for item in value)
    if type(value) is dict:
        return {key: _rebuild(item, held) for key, item in value.items()}
    return value
