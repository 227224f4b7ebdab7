"""What evidence says of one feature, as plain data that a window, a script or a test can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from circuitscope.core.errors import CircuitScopeError

ALIVE_TOKENS, ALIVE_EXAMPLES = 20, 5
"""A feature is alive from this many active tokens and examples on."""
DENSE = 0.1
"""A feature that is active on more than this share of the tokens is called dense."""
QUANTILES = (0.25, 0.5, 0.75, 0.95)

CONCEPTS = "; or "
"""Between the concepts of a label that names several."""

Source = Literal["person", "machine", "imported"]


class EvidenceMissing(CircuitScopeError):  # noqa: N818 - named for what happened
    """Nothing has been collected for a dictionary or a feature."""


@dataclass(frozen=True, slots=True)
class FeatureId:
    """Name a feature wherever it is used: by its dictionary's digest, layer and number."""

    digest: str
    layer: int
    unit: int


@dataclass(frozen=True, slots=True)
class Example:
    """A piece of the corpus in which a feature is active.

    Attributes:
        token_ids: The piece; tokens: its texts.
        activations: The feature's activation at each token.
        peak: Index of the token that the example was chosen for.
        activation: The activation there.
        band: "top" for the strongest; else the quarter of its activations it stands for, such as
            "25–50 %".
        sequence: Number of the sequence in the corpus; position: of the peak in that sequence.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int
    activation: float
    band: str = "top"
    sequence: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often activations fall between edges: `counts[i]` from `edges[i]` to `edges[i + 1]`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody or something calls a feature.

    Attributes:
        text: The label.
        method: How it was made, such as "vocabulary projection"; who, for a person's.
        source: "person", "machine" or "imported".
        score: Of a machine's: how well it does on held-out examples, 0.5 being chance for
            detection; None where it was not measured.
        scored_by: What the score is: "detection" or "output".
        made: ISO time of a person's label; "" for others, so that files are the same every time.
        replaced: Whether the same person has since written another.
        detail: Numbers behind it.
    """

    text: str
    method: str
    source: Source = "machine"
    score: float | None = None
    scored_by: str = ""
    made: str = ""
    replaced: bool = False
    detail: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Promoted:
    """A token, and by how much one unit of the feature moves its logit directly."""

    token_id: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Companion:
    """Another feature of the same dictionary, and the cosine by which it is like this one."""

    unit: int
    similarity: float


@dataclass(frozen=True, slots=True)
class FeaturePage:
    """Everything collected about one feature.

    Attributes:
        frequency: Share of the corpus's tokens on which it is active.
        n_active: On how many that is; n_tokens: of how many.
        maximum: Largest activation; mean: where it is active.
        quantiles: Share and activation, over the tokens on which it is active; read off the
            histogram, so to within a bin, 9 %.
        promoted: Tokens whose logits it raises most; suppressed: lowers most.
        companions: Features that fire on the same tokens, by the cosine of their firing.
        similar: Features that write the same way, by the cosine of their decoder rows.
        corpus: What it was collected from, in words.
    """

    feature: FeatureId
    frequency: float = 0.0
    n_active: int = 0
    n_tokens: int = 0
    maximum: float = 0.0
    mean: float = 0.0
    quantiles: tuple[tuple[float, float], ...] = ()
    histogram: Histogram = Histogram((), ())
    examples: tuple[Example, ...] = ()
    promoted: tuple[Promoted, ...] = ()
    suppressed: tuple[Promoted, ...] = ()
    companions: tuple[Companion, ...] = ()
    similar: tuple[Companion, ...] = ()
    labels: tuple[Label, ...] = ()
    corpus: str = ""

    @property
    def is_dead(self) -> bool:
        """Say whether it was never active."""
        return not (self.n_active or self.frequency or self.examples)

    @property
    def is_dense(self) -> bool:
        """Say whether it is active on so many tokens that it can hardly mean one thing."""
        return self.frequency > DENSE

    @property
    def label(self) -> Label | None:
        """Return the label to show: a person's, else an imported one, else the best machine's."""
        return best_label(self.labels)

    def as_json(self) -> dict[str, Any]:
        """Return a plain dictionary for files."""
        return dict(_plain(self))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> FeaturePage:
        """Rebuild from `as_json`.

        Raises:
            KeyError, TypeError, ValueError: It is not what `as_json` makes.
        """
        examples = tuple(
            Example(**{
                **item, "token_ids": tuple(int(i) for i in item["token_ids"]),
                "tokens": tuple(str(t) for t in item["tokens"]),
                "activations": tuple(float(a) for a in item["activations"]),
            }) for item in data["examples"]
        )  # fmt: skip
        histogram = data["histogram"]
        page = FeaturePage(
            feature=FeatureId(**data["feature"]),
            quantiles=tuple((float(a), float(b)) for a, b in data["quantiles"]),
            histogram=Histogram(tuple(histogram["edges"]), tuple(histogram["counts"])),
            examples=examples,
            promoted=tuple(Promoted(**item) for item in data["promoted"]),
            suppressed=tuple(Promoted(**item) for item in data["suppressed"]),
            companions=tuple(Companion(**item) for item in data["companions"]),
            similar=tuple(Companion(**item) for item in data["similar"]),
            labels=tuple(Label(**item) for item in data["labels"]),
        )
        plain = ("frequency", "n_active", "n_tokens", "maximum", "mean", "corpus")
        return replace(page, **{name: data[name] for name in plain})


@dataclass(frozen=True, slots=True)
class Collected:
    """Say what was collected.

    Attributes:
        path: The evidence file.
        is_whole: False where it was stopped before the end of the corpus; it can go on.
        n_alive: Alive features by dictionary and layer, as "name/layer".
    """

    path: str
    n_tokens: int
    n_sequences: int
    is_whole: bool
    n_alive: dict[str, int]
    n_dead: dict[str, int]
    n_dense: dict[str, int]


@dataclass(frozen=True, slots=True)
class CollectEstimate:
    """About how much work a collection is.

    Attributes:
        title: The corpus, in words.
        path: The file that it will be written to.
        n_tokens: Of the corpus; is_exact: whether they were counted.
        seconds: For what is left to do.
        n_bytes: Of the file.
        n_features: Of all dictionaries.
        n_done: Tokens that an earlier, unfinished run counted already.
        is_there: Whether there is such a file, which will be replaced.
    """

    title: str
    path: str
    n_tokens: int
    is_exact: bool
    seconds: float
    n_bytes: int
    n_features: int
    n_done: int = 0
    is_there: bool = False


@dataclass(frozen=True, slots=True)
class Concept:
    """One of the things that a label of several says.

    Attributes:
        text: What; share: of the held-out examples.
        score: How well it alone tells them from silent text; None where it was not measured.
    """

    text: str
    share: float
    score: float | None = None


def concepts_of(label: Label) -> tuple[Concept, ...]:
    """Return the concepts of a label that names several, else nothing."""
    numbers, parts = label.detail or {}, label.text.split(CONCEPTS)
    shares = [numbers.get(f"share of concept {at}") for at in range(1, len(parts) + 1)]
    scores = [numbers.get(f"score of concept {at}") for at in range(1, len(parts) + 1)]
    if len(parts) < 2 or f"share of concept {len(parts) + 1}" in numbers:
        return ()
    return tuple(
        Concept(text, share, score)
        for text, share, score in zip(parts, shares, scores, strict=True)
        if share is not None
    )


def best_label(labels: tuple[Label, ...]) -> Label | None:
    """Return a person's newest label, else an imported one, else the machine's with most score."""
    current = [label for label in labels if not label.replaced]
    for source in ("person", "imported"):
        found = [label for label in current if label.source == source and label.text]
        if found:
            return found[-1]
    scored = [label for label in current if label.source == "machine"]
    return max(scored, key=lambda label: label.score or 0.0, default=None)


def _plain(value: Any) -> Any:
    """Return dataclasses as dictionaries; unlike `asdict`, without a copy of every number."""
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return tuple(map(_plain, value))
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value
