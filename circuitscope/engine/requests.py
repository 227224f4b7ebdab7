"""What the engine can be asked and what it answers: plain data that needs no torch to read.

Every request that needs a model names it, so that a restarted engine can answer the next request
without being told again; a model that is already loaded is not loaded twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.circuit import Finding
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.dictionary_check import DictionaryCheck
from circuitscope.core.model_check import SelfCheck
from circuitscope.core.settings import TraceSettings

if TYPE_CHECKING:
    from circuitscope.core.transfer import Transfer
    from circuitscope.engine.decomposing import (
        Compared,
        CompareHeads,
        DiscoverHeads,
        MeasureMeans,
        WeighWords,
    )  # fmt: skip
    from circuitscope.engine.evidence import (
        BenchMib,
        CrossTest,
        MeasureCircuit,
        MibResults,
        Outcomes,
        RunTests,
        SweepPatches,
    )  # fmt: skip
    from circuitscope.engine.features import FeatureRequest, FeatureResult
    from circuitscope.engine.reading import GraphRead, ReadGraph
    from circuitscope.engine.reasons import AttentionReasons, ExplainAttention, Grow
    from circuitscope.engine.soundness import Checked, CheckFile
    from circuitscope.engine.trials import ReadLens, Tried, TryChanges
    from circuitscope.engine.writing import GraphWritten, WriteGraph

Prompt = str | tuple[int, ...]  # a text, or token ids used exactly as given


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation that the tokenizer's template writes out.

    Attributes:
        turns: Role ("system", "user", "assistant") and text of each message.
        generation_prompt: Whether to end where the assistant's answer begins.
    """

    turns: tuple[tuple[str, str], ...]
    generation_prompt: bool = True


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Name a model and how to hold it.

    Attributes:
        path: Folder with config.json and safetensors.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "float32", "float64", "bfloat16" or "float16".
    """

    path: str
    device: str = "auto"
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Limits:
    """Say how much of the machine the engine may take; goes with every request.

    Attributes:
        threads: Processor threads; 0 takes the physical cores.
        memory_share: How much of the free memory models and traces may take, 0 to 1.
    """

    threads: int = 0
    memory_share: float = 1.0


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask whether the engine answers; used to warm it and by the fault tests.

    Attributes:
        steps: Steps of a phase called "Counting", each `pause` seconds long.
        deaf_seconds: Time spent afterwards without hearing a cancel.
        n_values: Length of the array that comes back.
    """

    steps: int = 0
    pause: float = 0.0
    deaf_seconds: float = 0.0
    n_values: int = 0


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Hold a model ready; another one that is held is freed first."""

    model: ModelChoice


@dataclass(frozen=True, slots=True)
class InspectModel:
    """Describe a model folder from its headers, without its weights."""

    path: str


@dataclass(frozen=True, slots=True)
class ListModels:
    """List the models of the Hugging Face cache."""


@dataclass(frozen=True, slots=True)
class ListDevices:
    """List the devices that models can be loaded to."""


@dataclass(frozen=True, slots=True)
class EstimateTrace:
    """Say how much memory a trace would need, before it is made."""

    model: ModelChoice
    settings: TraceSettings


@dataclass(frozen=True, slots=True)
class InspectDictionaries:
    """Describe the dictionaries of a folder without their weights."""

    path: str


@dataclass(frozen=True, slots=True)
class CheckDictionaries:
    """Measure how well the dictionaries of some folders do on a prompt.

    Attributes:
        read_at: Sites in place of those declared, as in `TraceSettings`.
    """

    model: ModelChoice
    prompt: Prompt
    paths: tuple[str, ...]
    read_at: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreviewPrompt:
    """Split a prompt into the tokens that the model will see.

    Attributes:
        n_next: How many of the likeliest next tokens are told too.
    """

    model: ModelChoice
    prompt: Prompt | Chat
    n_next: int = 0


@dataclass(frozen=True, slots=True)
class Generate:
    """Continue a prompt and tell the alternatives of every step.

    Attributes:
        temperature: 0 takes the likeliest token at every step.
        n_alternatives: Likeliest tokens listed per step.
    """

    model: ModelChoice
    prompt: Prompt | Chat
    n_tokens: int = 12
    seed: int = 0
    temperature: float = 0.0
    n_alternatives: int = 10


@dataclass(frozen=True, slots=True)
class Predict:
    """Ask what the model expects after every token of a prompt.

    Attributes:
        n_alternatives: Likeliest tokens listed per position.
    """

    model: ModelChoice
    prompt: Prompt
    n_alternatives: int = 10


@dataclass(frozen=True, slots=True)
class Trace:
    """Compute a circuit; `settings.dictionaries` are the folders of the dictionaries.

    Attributes:
        prompts: Where there are any, all of them are traced and their stable core is returned.
        share: Least part of the prompts that a node or edge of the core appears in.
    """

    model: ModelChoice
    settings: TraceSettings
    prompts: tuple[Prompt, ...] = ()
    share: float = 0.8


Request = Union[
    Ping, LoadModel, InspectModel, ListModels, ListDevices, EstimateTrace, InspectDictionaries,
    CheckDictionaries, PreviewPrompt, Generate, Predict, Trace, "ReadGraph", "WriteGraph",
    "CheckFile", "TryChanges", "ReadLens", "Grow", "ExplainAttention", "RunTests",
    "FeatureRequest", "SweepPatches", "MeasureCircuit", "CrossTest", "WeighWords", "CompareHeads",
    "MeasureMeans", "DiscoverHeads", "BenchMib",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Pong:
    """Answer a `Ping`.

    Attributes:
        pid: The process that answered.
        has_torch: Whether that process has imported torch.
        values: 0, 1, 2, ..., float32 [n_values].
    """

    pid: int
    has_torch: bool
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModelReady:
    """Say what is loaded.

    Attributes:
        device: The device chosen, such as "cpu" or "cuda:0".
        has_tokenizer: False where prompts can only be token ids.
        n_bytes: Size of the weights in memory.
        has_chat_template: Whether `Chat` prompts can be written out.
        bos: The token that marks the beginning, "" where there is none.
        check: How exactly its parts give back the whole; None where its class is not known.
    """

    anatomy: ModelAnatomy
    path: str
    device: str
    dtype: str
    has_tokenizer: bool = True
    n_bytes: int = 0
    has_chat_template: bool = False
    bos: str = ""
    check: SelfCheck | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could stand at one place, with its full-softmax probability."""

    token_id: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class PromptPreview:
    """Show a prompt as the model sees it.

    Attributes:
        ids: Token ids, special ones included, [pos].
        texts: Their texts, [pos].
        specials: Whether the tokenizer added or reserves the token, [pos].
        following: The likeliest next tokens, best first, where they were asked for.
    """

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    specials: tuple[bool, ...]
    following: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """One generated token.

    Attributes:
        probability: Of this token where it stands; 0 where a sampled one is not listed.
        predicted_at: Position whose logits chose it: the last position of the prompt that
            explains it.
        alternatives: The likeliest tokens there, best first; the chosen one is among them or not.
    """

    token_id: int
    text: str
    probability: float
    predicted_at: int
    alternatives: tuple[Alternative, ...]

    @property
    def runner_up(self) -> Alternative | None:
        """Return the likeliest other token, the natural contrast."""
        others = (other for other in self.alternatives if other.token_id != self.token_id)
        return next(others, None)


@dataclass(frozen=True, slots=True)
class Generation:
    """A prompt and what the model says next."""

    prompt: PromptPreview
    steps: tuple[GeneratedToken, ...]

    def prompt_ids(self, step: int) -> tuple[int, ...]:
        """Return the ids up to where a step's token was chosen: the prompt that explains it."""
        return (*self.prompt.ids, *(token.token_id for token in self.steps[:step]))


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the model expects after every token of a prompt.

    Attributes:
        prompt: The prompt as the model saw it.
        token_ids: The likeliest next tokens, best first, int64 [pos, n].
        probabilities: Theirs, of the full softmax, float32 [pos, n].
    """

    prompt: PromptPreview
    token_ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inspected:
    """A model folder described without its weights.

    Attributes:
        memory: Bytes needed to load it, by dtype.
        n_parameters: Stored weights, tied ones once.
        dtype_on_disk: Type of most weights.
        tokenizer: What the tokenizer calls itself, "" where there is none.
        has_chat_template: Whether chat messages can be written out.
        n_files: How many files the weights are in; n_bytes: their size together.
        free: Bytes of memory free now, 0 where unknown; traceable: whether its class is known.
    """

    anatomy: ModelAnatomy
    path: str
    has_tokenizer: bool = True
    memory: dict[str, int] = field(default_factory=dict)
    n_parameters: int = 0
    dtype_on_disk: str = ""
    tokenizer: str = ""
    has_chat_template: bool = False
    n_files: int = 1
    n_bytes: int = 0
    free: int = 0
    traceable: bool = True


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model of the Hugging Face cache: its name there, its folder, and its size in bytes."""

    name: str
    path: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class ModelList:
    """The models of the Hugging Face cache.

    Attributes:
        folder: The cache.
    """

    folder: str
    models: tuple[ListedModel, ...]


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """A device: its name for `ModelChoice`, what people call it, and its bytes."""

    name: str
    title: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class DeviceList:
    """The devices that models can be loaded to, the one "auto" chooses first."""

    devices: tuple[ListedDevice, ...]


@dataclass(frozen=True, slots=True)
class TraceEstimate:
    """Bytes that a trace needs besides the model, by part, what is free, and the time.

    Attributes:
        free: On the model's device.
        seconds: About how long its rows take; 0 where that is not known.
    """

    parts: dict[str, int]
    free: int
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """Return all parts together."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class DictionaryCards:
    """The dictionaries of a folder described without their weights."""

    path: str
    cards: tuple[DictionaryCard, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class DictionaryChecks:
    """What was measured of dictionaries, one entry a layer."""

    checks: tuple[DictionaryCheck, ...] = ()


Result = Union[
    Pong,
    ModelReady,
    Inspected,
    ModelList,
    DeviceList,
    TraceEstimate,
    DictionaryCards,
    DictionaryChecks,
    PromptPreview,
    Generation,
    Predictions,
    Finding,
    "GraphRead",
    "GraphWritten",
    "Checked",
    "Tried",
    "AttentionReasons",
    "Outcomes",
    "FeatureResult",
    "Compared",
    "Transfer",
    "MibResults",
]
