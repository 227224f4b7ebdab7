"""Read what others published about features: circuit-tracer's and Neuronpedia's files.

What is what:

- a folder with `index.json.gz` and `layer_*.bin`: circuit-tracer's indexed examples;
- a folder of `NUMBER.json`: one feature each; NUMBER is the feature, or layer and feature as one
  number (Cantor's pairing), as circuit-tracer names them;
- a `.json` file: one feature or a list of them, as Neuronpedia's page of a feature gives it;
- a folder with `explanations`, `features` or `activations` of `batch-*.jsonl.gz`: Neuronpedia's
  bulk export of one source.

Files come from anywhere: sizes are bounded, every value is checked, and what is no number or text
is left out. Nothing is fetched.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.progress import Progress
from circuitscope.evidence.records import (
    Example,
    FeatureId,
    FeaturePage,
    Histogram,
    Label,
    Promoted,
)

_MOST_BYTES: Final = 2**26
"""Of one feature, or one line, unpacked."""
_MOST_EXAMPLES, _MOST_TOKENS, _MOST_TEXT, _MOST_WORDS = 24, 1024, 2000, 20
_PARTS: Final = ("features", "explanations", "activations")


@dataclass(frozen=True, slots=True)
class Published:
    """What is told of one feature; `layer` is None where the files do not say."""

    layer: int | None
    unit: int
    page: FeaturePage


def read_published(source: Path, n_layers: int, progress: Progress) -> Iterator[Published]:
    """Read features one by one; memory does not depend on how many there are.

    Args:
        source: A file or folder, as above.
        n_layers: Layers of the model, which tell numbers of a feature from Cantor's.
        progress: Advanced with every file or feature.

    Raises:
        CircuitScopeError: It is none of these, or cannot be read.
    """
    try:
        if source.is_dir() and (index := _index(source)) is not None:
            yield from _indexed(source, index, progress)
        elif source.is_dir() and any((source / part).is_dir() for part in _PARTS):
            yield from _bulk(source, progress)
        elif source.is_dir() and (files := sorted(source.glob("*.json"))):
            progress.phase("Reading features", len(files))
            for file in files:
                data = _json(_bounded(file))
                if file.stem.isdigit() and isinstance(data, Mapping):
                    yield Published(*_numbered(int(file.stem), data, n_layers), _page(data))
                progress.advance()
        elif source.is_file() and source.suffix == ".json":
            data = _json(_bounded(source))
            items = data if isinstance(data, list) else [data]
            progress.phase("Reading features", len(items))
            for item in items:
                unit = _whole(item.get("index")) if isinstance(item, Mapping) else None
                if unit is not None:
                    yield Published(_layer(item), unit, _page(item))
                progress.advance()
        else:
            raise CircuitScopeError(
                f"{source} holds no features that CircuitScope can read.",
                hint="Give circuit-tracer's features folder, Neuronpedia's JSON of a feature, or a "
                "folder of its bulk export with features, explanations and activations.",
            )
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error,
        RecursionError, struct.error,
    ) as error:  # fmt: skip
        raise CircuitScopeError(
            f"{source} cannot be read to its end: {error}.",
            kept="Nothing was changed.",
            hint="Get the files anew.",
        ) from error


# ---- containers --------------------------------------------------------------------------------
def _index(folder: Path) -> Any:
    for name in ("index.json.gz", "index.json"):
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            return _json(_unpacked(data) if name.endswith(".gz") else data)
    return None


def _indexed(folder: Path, index: Any, progress: Progress) -> Iterator[Published]:
    if not isinstance(index, Mapping):
        raise ValueError("the index names no layers")  # noqa: TRY004 - a file's fault, not ours
    progress.phase("Reading features", len(index))
    for layer_text, entry in sorted(index.items(), key=lambda item: int(item[0])):
        file = folder / Path(str(entry["filename"])).name
        with file.open("rb") as stream:
            for unit, offset in enumerate(entry["offsets"][:-1]):
                if entry["offsets"][unit + 1] == offset:
                    continue
                stream.seek(int(offset))
                (size,) = struct.unpack("<I", stream.read(4))
                if size > _MOST_BYTES:
                    raise ValueError(f"feature {unit} is said to take {size} bytes")
                yield Published(int(layer_text), unit, _page(_json(_unpacked(stream.read(size)))))
        progress.advance()


def _bulk(folder: Path, progress: Progress) -> Iterator[Published]:
    """Join the parts of a bulk export by feature, in a file of its own that is then thrown away."""
    batches = [(part, file) for part in _PARTS for file in sorted((folder / part).glob("*.jsonl*"))]
    if not batches:
        raise CircuitScopeError(f"{folder} holds no batch-*.jsonl.gz.")
    progress.phase("Reading features", len(batches))
    with (
        tempfile.TemporaryDirectory() as place,
        closing(sqlite3.connect(Path(place) / "joined")) as joined,
    ):
        joined.execute("PRAGMA journal_mode = OFF")
        joined.execute("CREATE TABLE line (layer INTEGER, unit INTEGER, part TEXT, line BLOB)")
        for part, file in batches:
            joined.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", _lines(file, part))
            progress.advance()
        joined.execute("CREATE INDEX place ON line (layer, unit)")
        rows = joined.execute("SELECT layer, unit, part, line FROM line ORDER BY layer, unit")
        for (layer, unit), group in groupby(rows, key=lambda row: row[:2]):
            page = _page(_joined((part, line) for _, _, part, line in group))
            yield Published(layer if layer >= 0 else None, unit, page)


def _joined(lines: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Bring the lines of one feature to what Neuronpedia's page of a feature gives."""
    merged: dict[str, Any] = {}
    found: dict[str, list[Any]] = {"activations": [], "explanations": []}
    for part, line in lines:
        if part == "features":
            merged = json.loads(line)
        else:
            found[part].append(json.loads(line))
        if len(found["activations"]) > 4 * _MOST_EXAMPLES:
            found["activations"] = _strongest(found["activations"])
    return {**merged, **found}


def _lines(file: Path, part: str) -> Iterator[tuple[int, int, str, bytes]]:
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
        while line := stream.readline(_MOST_BYTES):
            data = _json(line)
            unit = _whole(data.get("index")) if isinstance(data, Mapping) else None
            if unit is None:
                continue
            layer = _layer(data)
            yield -1 if layer is None else layer, unit, part, line


def _strongest(activations: list[Any]) -> list[Any]:
    told = [one for one in activations if isinstance(one, Mapping)]
    ranked = sorted(told, key=lambda one: -(_number(one.get("maxValue")) or 0.0))
    return ranked[:_MOST_EXAMPLES]


def _bounded(file: Path) -> bytes:
    if file.stat().st_size > 16 * _MOST_BYTES:
        raise ValueError(f"{file.name} is too large")
    return file.read_bytes()


def _unpacked(data: bytes) -> bytes:
    """Unpack gzip or zlib, but no more than a feature may take."""
    machine = zlib.decompressobj(wbits=47)
    found = machine.decompress(data, _MOST_BYTES)
    if machine.unconsumed_tail or not machine.eof:
        raise ValueError("what is packed is too large, or cut off")
    return found


def _json(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"))


def _numbered(number: int, data: Mapping[str, Any], n_layers: int) -> tuple[int | None, int]:
    """Return layer and feature of a file's number."""
    index = _whole(data.get("index"))
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    unit = number - diagonal * (diagonal + 1) // 2
    layer = diagonal - unit
    named = index in (None, unit) or (index == number and _layer(data) is None)
    if layer < n_layers and named and index != number:
        return layer, unit
    return _layer(data), number if index is None else index


def _layer(data: Mapping[str, Any]) -> int | None:
    """Read "5-res-jb", "5" or 5."""
    match = re.match(r"\d+", str(data.get("layer", "")))
    return int(match[0]) if match else None


# ---- one feature -------------------------------------------------------------------------------
def _page(data: Any) -> FeaturePage:
    """Bring either dialect to a page; its feature is named by the caller."""
    if not isinstance(data, Mapping):
        raise ValueError("a feature is no object")  # noqa: TRY004 - a file's fault, not ours
    examples = _examples(data)
    maximum = max(
        [_number(data.get(name)) or 0.0 for name in ("maxActApprox", "act_max")]
        + [example.activation for example in examples],
        default=0.0,
    )
    frequency = _number(data.get("frac_nonzero"))
    if frequency is None:
        frequency = _number(data.get("activation_frequency")) or 0.0
    return FeaturePage(
        FeatureId("", 0, 0),
        frequency=min(max(frequency, 0.0), 1.0),
        maximum=maximum,
        histogram=_histogram(data),
        examples=examples,
        promoted=_words(data, "pos_str", "pos_values", "top_logits"),
        suppressed=_words(data, "neg_str", "neg_values", "bottom_logits"),
        labels=_labels(data),
    )


def _examples(data: Mapping[str, Any]) -> tuple[Example, ...]:
    found = []
    quantiles = data.get("examples_quantiles")
    for quantile in quantiles if isinstance(quantiles, list) else []:
        if not isinstance(quantile, Mapping) or not isinstance(quantile.get("examples"), list):
            continue
        name = _text(quantile.get("quantile_name"))
        band = "top" if name.lower().startswith("top") else name
        found += [_example(item, "tokens_acts_list", band) for item in quantile["examples"]]
    activations = data.get("activations")
    for item in _strongest(activations if isinstance(activations, list) else []):
        found.append(_example(item, "values", "top"))
    kept = [example for example in found if example is not None]
    top = [example for example in kept if example.band == "top"]
    top.sort(key=lambda example: -example.activation)
    rest = [example for example in kept if example.band != "top"]
    return (*top[:_MOST_EXAMPLES], *rest[: 2 * _MOST_EXAMPLES])


def _example(item: Any, values: str, band: str) -> Example | None:
    if not isinstance(item, Mapping):
        return None
    tokens, acts = item.get("tokens"), item.get(values)
    if not isinstance(tokens, list) or not isinstance(acts, list) or not tokens:
        return None
    if len(tokens) != len(acts) or len(tokens) > _MOST_TOKENS:
        return None
    numbers = [_number(act) or 0.0 for act in acts]
    peak = max(range(len(numbers)), key=numbers.__getitem__)
    texts = tuple(_text(token) for token in tokens)
    return Example((), texts, tuple(numbers), peak, numbers[peak], band)


def _histogram(data: Mapping[str, Any]) -> Histogram:
    heights, middles = (
        [_number(n) for n in found] if isinstance(found := data.get(name), list) else []
        for name in ("freq_hist_data_bar_heights", "freq_hist_data_bar_values")
    )
    if len(heights) < 2 or len(middles) not in (len(heights), len(heights) + 1):
        return Histogram((), ())
    if None in heights or None in middles:
        return Histogram((), ())
    edges = [float(m or 0.0) for m in middles]
    if len(edges) == len(heights):
        half = (edges[1] - edges[0]) / 2
        edges = [edges[0] - half, *(m + half for m in edges)]
    return Histogram(tuple(edges), tuple(round(h or 0.0) for h in heights))


def _words(data: Mapping[str, Any], texts: str, values: str, alone: str) -> tuple[Promoted, ...]:
    words, weights = data.get(texts), data.get(values)
    if not isinstance(words, list):
        words, weights = data.get(alone), None
    if not isinstance(words, list):
        return ()
    numbers = (
        weights if isinstance(weights, list) and len(weights) == len(words) else [None] * len(words)
    )
    return tuple(
        Promoted(-1, _text(word), _number(value) or 0.0)
        for word, value in zip(words[:_MOST_WORDS], numbers, strict=False)
    )


def _labels(data: Mapping[str, Any]) -> tuple[Label, ...]:
    found = data.get("explanations")
    return tuple(
        Label(
            _text(one.get("description")).strip(),
            " ".join(filter(None, ("Neuronpedia", _text(one.get("explanationModelName"))))),
            "imported",
        )
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, Mapping) and _text(one.get("description")).strip()
    )


def _text(value: Any) -> str:
    return value[:_MOST_TEXT] if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**31 else None
