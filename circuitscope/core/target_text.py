"""Targets as people write them, and back.

| text | target |
|---|---|
| `logit:top` | the likeliest next tokens |
| `logit:Austin`, `logit:#17` | the logit of a word, or of a token by its id |
| `difference:Austin,Texas` | one logit less another |
| `direction:Austin + Dallas - Texas` | the final stream along a sum of what words' logits read |
| `direction:probe.npy` | along the vector of a file, one number for each entry of the stream |
| `L4/#57@7` | feature 57 of layer 4 at position 7 |
| `feature/mlp_out/4/7/57` | the same by its key, where a layer has several dictionaries |
| `score:1.0:9<-4` | how much head 0 of layer 1 looks from position 9 at position 4 |

All but the last two may end in `@POSITION`; without it the last position is meant.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError, TargetNotFound
from circuitscope.core.settings import (
    AttentionScore,
    Direction,
    Feature,
    Logit,
    LogitDifference,
    Target,
)

FORMS = (
    "logit:top", "logit:WORD", "difference:WORD,OTHER", "direction:WORD - OTHER",
    "direction:FILE.npy", "L4/#57@7", "feature/mlp_out/4/7/57", "score:LAYER.HEAD:QUERY<-KEY",
)  # fmt: skip
"""One example of each form."""
_HINT = f"Write {', '.join(FORMS[:-1])} or {FORMS[-1]}."
_SCORE = re.compile(r"score:(\d+)\.(\d+):(-?\d+)\s*(?:<-|←)\s*(-?\d+)")
_FEATURE = re.compile(r"L(\d+)\s*/\s*#(\d+)(?:\s*@\s*(-?\d+))?", re.IGNORECASE)
_KEY = re.compile(r"feature/(\w+)/(\d+)/(-?\d+)/(\d+)")
_PLACE = re.compile(r"(.*?)\s*@\s*(-?\d+)", re.DOTALL)


def parse_target(text: str | Target) -> Target:
    """Read a target from its text, in one of the forms of this module; targets pass through.

    Raises:
        TargetNotFound: The text is no target, or its file is no vector.
    """
    if isinstance(text, Target):
        return text
    if not isinstance(text, str):
        raise TargetNotFound(f"{text!r} is not a target.", hint=_HINT)
    plain = text.strip()
    if score := _SCORE.fullmatch(plain):
        return AttentionScore(*map(int, score.groups()))
    if feature := _FEATURE.fullmatch(plain):
        layer, unit = int(feature[1]), int(feature[2])
        return Feature(Site.NONE, layer, unit, int(feature[3] or -1))
    if key := _KEY.fullmatch(plain):
        try:
            site = Site.parse(key[1])
        except CircuitScopeError as error:
            raise TargetNotFound(error.message, hint=error.hint) from None
        return Feature(site, int(key[2]), int(key[4]), int(key[3]))
    found = _of_words(plain)
    if found is None:
        raise TargetNotFound(f"{text!r} is not a target.", hint=_HINT)
    return found


def _of_words(text: str) -> Target | None:
    kind, _, rest = text.partition(":")
    place = _PLACE.fullmatch(rest)
    name, at = (place[1], int(place[2])) if place else (rest, -1)
    if kind == "logit" and name:
        return Logit(None if name == "top" else _token(name), at)
    if kind == "difference":
        a, comma, b = (part.strip() for part in name.partition(","))
        return LogitDifference(_token(a), _token(b), at) if comma and a and b else None
    if kind == "direction" and name.strip():
        name = name.strip()
        if name.endswith(".npy"):
            return Direction(_vector(Path(name).expanduser()), Path(name).stem, at)
        signed_words(name)
        return Direction((), name, at)
    return None


def _token(text: str) -> str | int:
    digits = text.strip().removeprefix("#")
    return int(digits) if digits.isdecimal() and text.strip().startswith("#") else text


def _vector(file: Path) -> tuple[float, ...]:
    try:
        found = np.load(file, allow_pickle=False)
        numbers = np.asarray(found, np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise TargetNotFound(
            f"{file} cannot be read as a vector ({error}).",
            hint="Write it with numpy.save: one number for each entry of the residual stream.",
        ) from None
    if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
        raise TargetNotFound(
            f"{file} holds an array of shape {list(numbers.shape)}, not one finite vector.",
            hint="Save one number for each entry of the residual stream.",
        )
    return tuple(numbers.tolist())


def signed_words(name: str) -> tuple[tuple[str | int, int], ...]:
    """Return the words of "Austin + Dallas - Texas" with their signs.

    Raises:
        TargetNotFound: A sign has no word after it.
    """
    parts = re.split(r"\s+([+\-−])(?:\s+|$)", f" + {name.strip()}")[1:]
    found = tuple(
        (_token(word.strip()), 1 if sign == "+" else -1)
        for sign, word in zip(parts[::2], parts[1::2], strict=True)
    )
    if not found or any(word == "" for word, _ in found):
        raise TargetNotFound(
            f"{name!r} is no sum of words.",
            hint="Write words with spaces around the signs: Austin + Dallas - Texas.",
        )
    return found


def target_text(target: Target) -> str:
    """Return the text that `parse_target` reads as this target, but for vectors: their name."""
    if isinstance(target, AttentionScore):
        return f"score:{target.layer}.{target.head}:{target.query}<-{target.key}"
    if isinstance(target, Feature):
        site = Site.parse(target.site)
        if site is Site.NONE:
            return f"L{target.layer}/#{target.unit}{_at(target.position)}"
        return f"feature/{site.text}/{target.layer}/{target.position}/{target.unit}"
    if isinstance(target, LogitDifference):
        words = f"difference:{_written(target.a)},{_written(target.b)}"
    elif isinstance(target, Direction):
        words = f"direction:{target.name}"
    else:
        words = "logit:top" if target.token is None else f"logit:{_written(target.token)}"
    return f"{words}{_at(target.position)}"


def _written(token: str | int) -> str:
    return token if isinstance(token, str) else f"#{token}"


def _at(position: int) -> str:
    return "" if position == -1 else f"@{position}"
