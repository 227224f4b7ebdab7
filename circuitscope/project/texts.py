"""JSON texts of a project: written the same way every time, and read with a limit.

A small hostile text can unfold into many Python objects (two bytes make an empty list of 56), so
no text beyond `MAX_TEXT` is parsed, and none is written.
"""

import hashlib
import json
from typing import Any, Final

from circuitscope.core.errors import ProjectError

MAX_TEXT: Final = 32 * 2**20
"""Most bytes of one JSON text; unfolded, the worst of them takes 0.8 GiB of memory."""


def dump(value: Any) -> str:
    """Return JSON whose bytes are the same for the same value; any text survives."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def parse(text: str | bytes) -> Any:
    """Read JSON from a file.

    Raises:
        ValueError: It is too long, too deep or no JSON.
    """
    if not isinstance(text, str | bytes):
        raise ValueError("is not text")  # noqa: TRY004 - one kind of complaint
    if len(text) > MAX_TEXT:
        raise ValueError(f"has {len(text)} bytes of text, more than the {MAX_TEXT} allowed")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def fitting(text: str, what: str) -> str:
    """Return a text that may be written, or say that it is too long to be read again.

    Raises:
        ProjectError: It is.
    """
    if len(text) > MAX_TEXT:
        raise ProjectError(
            f"{what} takes {len(text) / 2**20:.0f} MB of text; a project takes "
            f"{MAX_TEXT // 2**20} MB at once.",
            kept="Nothing was changed.",
            hint="Do it in several parts.",
        )
    return text


def text_digest(*texts: str) -> str:
    """Return sha256 over texts."""
    return hashlib.sha256("\x00".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
