"""Walk through a JSON object without holding it: its long lists come item by item.

A graph file of 200 MB is two million small links in one list; as one tree they take a gigabyte.
Here the file is read in pieces, the standard library's decoder takes one value at a time off the
piece at hand, and what was taken is dropped. So memory is that of the largest single value, broken
files are told by line and column, and what that decoder accepts (such as NaN) is accepted.
"""

import codecs
import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO, Final

PIECE: Final = 1 << 18
"""Bytes read at once."""
LARGEST_VALUE: Final = 1 << 27
"""Most characters of one value: an item of a long list, or a whole value that is none."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_LONGEST_WORD: Final = 16
_LONGEST_CUT: Final = 2
_KINDS: Final = {"[": "list", '"': "text", "t": "yes or no", "f": "yes or no", "n": "null"}


class BrokenJsonError(Exception):
    """The text is no JSON.

    Attributes:
        message: What is wrong; line and column say where, both from 1.
    """

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class NoObjectError(Exception):
    """The text is JSON, or begins so, but no object.

    Attributes:
        kind: What it is instead, such as "list".
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def walk(
    file: BinaryIO,
    long_lists: Collection[str],
    heard: Callable[[bytes], None],
    piece: int = PIECE,
) -> Iterator[tuple[str, Any, bool]]:
    """Yield the keys of a JSON object with their values, in the order of the file.

    Args:
        file: UTF-8, with or without its mark; read to its end.
        long_lists: Keys whose lists are not held: first the key comes with an empty list, then
            once with each item.
        heard: Called with every piece read; it may raise to stop.
        piece: Bytes read at once.

    Yields:
        Key, value, and whether the value is an item of a long list. Halves of characters, which
        escapes can hold and files cannot, come as question marks.

    Raises:
        BrokenJsonError: It is no JSON.
        NoObjectError: It is something else than an object.
        UnicodeDecodeError: It is no text; `start` is the place in the file.
        RecursionError: It is nested too deeply.
    """
    text = _Text(file, heard, piece)
    first = text.next()
    if first != "{":
        if first in _KINDS or first == "-" or first.isdigit():
            raise NoObjectError(_KINDS.get(first, "number"))
        raise text.broken("Expecting value")
    text.skip()
    for _ in text.entries("}"):
        if text.next() != '"':
            raise text.broken("Expecting property name enclosed in double quotes")
        key = text.value()
        if text.next() != ":":
            raise text.broken("Expecting ':' delimiter")
        text.skip()
        if key in long_lists and text.next() == "[":
            text.skip()
            yield key, [], False
            for _ in text.entries("]"):
                yield key, text.value(), True
        else:
            yield key, text.value(), False
    if text.next():
        raise text.broken("Extra data")


class _Text:
    """The piece of the file at hand, and where in it the reader is."""

    def __init__(self, file: BinaryIO, heard: Callable[[bytes], None], piece: int) -> None:
        self._file = file
        self._heard = heard
        self._piece = piece
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._take = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._bytes = 0
        self._line, self._column = 1, 1
        self._ended = False
        self._has_halves = False

    def next(self) -> str:
        """Skip white space and return the character that follows, "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def skip(self) -> None:
        """Step over the character at hand."""
        self._at += 1

    def entries(self, end: str) -> Iterator[None]:
        """Step over commas up to a closing bracket; whoever asks reads the entries."""
        if self.next() == end:
            self.skip()
            return
        while True:
            yield
            mark = self.next()
            if mark not in (",", end):
                raise self.broken("Expecting ',' delimiter")
            self.skip()
            if mark == end:
                return

    def value(self) -> Any:
        """Take the value at hand."""
        self.next()
        while True:
            try:
                found, end = self._take(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = (
                    error.msg.startswith("Unterminated string")
                    or error.pos >= len(self._text) - _LONGEST_WORD
                )
                if is_cut and self._grow():
                    continue
                raise self.broken(error.msg, error.pos) from None
            # At the end of the piece a number may be cut: "1", "1." or "1e-" of "1e-5".
            if end + _LONGEST_CUT < len(self._text) or not self._grow():
                self._at = end
                return _whole(found) if self._has_halves else found

    def broken(self, message: str, place: int | None = None) -> BrokenJsonError:
        """Return the error for a place in the piece, the present one where left out."""
        line, column = self._place(self._at if place is None else place)
        return BrokenJsonError(message, line, column)

    def _place(self, at: int) -> tuple[int, int]:
        lines = self._text.count("\n", 0, at)
        if not lines:
            return self._line, self._column + at
        return self._line + lines, at - self._text.rfind("\n", 0, at)

    def _grow(self) -> bool:
        """Drop what was taken and read on, twice as much for a long value; False at the end."""
        if self._ended:
            return False
        self._line, self._column = self._place(self._at)
        rest = self._text[self._at :]
        if len(rest) > LARGEST_VALUE:
            raise self.broken(f"More than {LARGEST_VALUE >> 20} million characters in one value")
        raw = self._file.read(max(self._piece, len(rest)))
        self._ended = not raw
        try:
            fresh = self._decode(raw, final=self._ended)
        except UnicodeDecodeError as error:
            error.start += self._bytes
            raise
        self._bytes += len(raw)
        self._text, self._at = rest + fresh, 0
        self._has_halves = self._has_halves or "\\ud" in self._text.lower()
        self._heard(raw)
        return True


def _whole(value: Any) -> Any:
    """Replace halves of characters, which JSON escapes can hold and UTF-8 files cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value
