"""What a user asks for: targets to explain and the settings of a trace.

Each field of the settings carries label, unit, range and help as metadata; the form in the
window, the option of the command line and the table in the manual are made from it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral
from typing import Any, Literal

from circuitscope.core.anatomy import Site

Reading = Literal["auto", "raw", "centred"]


@dataclass(frozen=True, slots=True)
class Logit:
    """Explain the logit of one token; None means the likeliest tokens ("logit:top").

    Attributes:
        reading: "raw", the logit itself; "centred", less the mean over the vocabulary and before
            any soft cap; "auto" leaves it to the method: centred for attribution, else raw.
    """

    token: str | int | None = None
    position: int = -1
    reading: Reading = "auto"


@dataclass(frozen=True, slots=True)
class LogitDifference:
    """Explain the logit of `a` minus the logit of `b`; a target and a metric."""

    a: str | int
    b: str | int
    position: int = -1


@dataclass(frozen=True, slots=True)
class Direction:
    """Explain the final residual stream, after the last norm, along a vector [d_model].

    Without a vector the name is a sum of words, "Austin + Dallas - Texas": the vector is the sum
    of what their logits read, which the model gives when a trace begins.
    """

    vector: tuple[float, ...]
    name: str
    position: int = -1

    def __post_init__(self) -> None:
        # Arrays are welcome; numbers of our own can be compared, hashed and stored.
        object.__setattr__(self, "vector", tuple(float(number) for number in self.vector))


@dataclass(frozen=True, slots=True)
class Feature:
    """Explain the pre-activation of one dictionary feature.

    Site.NONE is the only site with a dictionary in that layer, else its MLP's.
    """

    site: Site | str
    layer: int
    unit: int
    position: int = -1
    dictionary: str | None = None


@dataclass(frozen=True, slots=True)
class AttentionScore:
    """Explain the pre-softmax score of one head from a query to a key position."""

    layer: int
    head: int
    query: int
    key: int


Target = Logit | LogitDifference | Direction | Feature | AttentionScore
_TARGETS: dict[str, type] = {
    kind.__name__: kind for kind in (Logit, LogitDifference, Direction, Feature, AttentionScore)
}


def target_as_json(target: Target) -> dict[str, Any]:
    """Return a plain dictionary that `target_from_json` reads, numbers of numpy made plain."""
    data = {
        name: int(value) if isinstance(value, Integral) else value
        for name, value in asdict(target).items()
    }
    if isinstance(target, Feature):
        data["site"] = Site.parse(target.site).text
    return {"kind": type(target).__name__, **data}


def target_from_json(data: Mapping[str, Any]) -> Target:
    """Rebuild a target."""
    values = dict(data)
    kind = _TARGETS[values.pop("kind")]
    if kind is Direction:
        values["vector"] = tuple(values["vector"])
    target: Target = kind(**values)
    return target


def _setting(default: Any, label: str, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"label": label, "help": help, **more})


Units = Literal["auto", "features", "neurons"]
MlpRule = Literal["secant", "transcoder"]
GatedRule = Literal["half", "through_u", "gradient"]
Conventions = Literal["ours", "circuit-tracer"]
Weights = Literal["raw", "centred", "folded"]


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Say what to trace and how; enough, with the model and dictionaries, to run it again."""

    prompt: str | tuple[int, ...] = _setting("", "Prompt", "The text, or a list of token ids.")
    method: str = _setting("direct", "Method", "How the circuit is computed.")
    targets: tuple[Target, ...] = _setting(
        (Logit(),),
        "Targets",
        "What is explained: logits, differences, directions, features, attention scores.",
    )
    dictionaries: tuple[str, ...] = _setting((), "Dictionaries", "Folders of dictionaries.")
    read_at: tuple[str, ...] = _setting(
        (), "Read at",
        "Site read in place of the one that dictionaries declare: SITE for all transcoders, or "
        "NAME=SITE for one dictionary.",
    )  # fmt: skip
    max_nodes: int | None = _setting(
        2048, "Node budget", "Nodes kept, strongest first; the rest is summed as unexplained.",
        range=(16, 200_000), unit="nodes",
    )  # fmt: skip
    units: Units = _setting(
        "auto", "Units", "Features where a dictionary fits, neurons and heads elsewhere.",
        choices=("auto", "features", "neurons"),
    )  # fmt: skip
    mlp: MlpRule = _setting(
        "secant", "MLP rule", "Read MLPs through their neurons' secants, or through transcoders.",
        choices=("secant", "transcoder"),
    )  # fmt: skip
    gated: GatedRule = _setting(
        "half", "Gated MLP rule", "How a gated MLP's product is shared between its two factors.",
        choices=("half", "through_u", "gradient"),
    )  # fmt: skip
    conventions: Conventions = _setting(
        "ours", "Conventions",
        "Attribution only: keep all constants and the first position, or leave out and select "
        "what circuit-tracer does.", choices=("ours", "circuit-tracer"),
    )  # fmt: skip
    weights: Weights = _setting(
        "raw", "Weights",
        "Contextual decomposition only: as stored; written vectors centred; or gains of norms "
        "folded in too. Biases split differently in each.", choices=("raw", "centred", "folded"),
    )  # fmt: skip
    means: Any = _setting(
        None, "Means",
        "Contextual decomposition only: mean activations that other heads hold; none is 0.",
    )  # fmt: skip
    corrupted: str | tuple[int, ...] = _setting(
        "", "Corrupted prompt",
        "Attribution and path patching only: a prompt of as many tokens with another answer; "
        "none takes each part's mean over the prompt.",
    )  # fmt: skip
    least_share: float = _setting(
        0.01, "Least share",
        "Information flow only: parts of a sum with less importance are left out.",
        range=(0.0, 0.5),
    )  # fmt: skip
    logit_mass: float = _setting(
        0.95, "Top logits reach", "Probability that the explained top tokens add up to.",
        range=(0.05, 1.0),
    )  # fmt: skip
    max_logits: int = _setting(
        10, "Top logits, at most", "Most tokens that logit:top explains.", range=(1, 100)
    )
    batch_size: int | None = _setting(
        None, "Batch size", "Rows computed at once; empty chooses by memory.", range=(1, 4096)
    )
    update_interval: int = _setting(
        4, "Update interval", "Steps between two rankings of what to expand next.", range=(1, 64)
    )
    dtype: str = _setting(
        "float32", "Precision", "Attribution is float32; float64 on request.",
        choices=("float32", "float64"),
    )  # fmt: skip
    seed: int = _setting(0, "Seed", "Seeds what is random; tracing itself is deterministic.")

    def as_json(self) -> dict[str, Any]:
        """Return a plain dictionary that `from_json` reads."""
        data = {item.name: getattr(self, item.name) for item in fields(self)}
        data["targets"] = [target_as_json(target) for target in self.targets]
        data["dictionaries"] = list(self.dictionaries)
        data["read_at"] = list(self.read_at)
        # Arrays stay out of the record; which means they were is said.
        data["means"] = None
        if self.means is not None:
            data["means"] = {"name": self.means.name, "n_prompts": self.means.n_prompts}
        if not isinstance(self.prompt, str):
            data["prompt"] = list(self.prompt)
        if not isinstance(self.corrupted, str):
            data["corrupted"] = list(self.corrupted)
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "TraceSettings":
        """Rebuild the settings; unknown keys of newer versions are dropped."""
        known = TraceSettings.__dataclass_fields__
        values = {key: value for key, value in data.items() if key in known}
        values["targets"] = tuple(target_from_json(target) for target in values["targets"])
        for name in ("dictionaries", "read_at"):
            values[name] = tuple(values.get(name, ()))
        values.pop("means", None)
        if not isinstance(values["prompt"], str):
            values["prompt"] = tuple(values["prompt"])
        if not isinstance(values.get("corrupted", ""), str):
            values["corrupted"] = tuple(values["corrupted"])
        return TraceSettings(**values)
