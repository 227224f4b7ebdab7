"""A transformer described in numbers, and the names of the places inside it.

`Site` is the one vocabulary for dictionaries, captures and interventions. Spelling follows
TransformerLens; the integer codes are stored in project files and never change.
"""

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Literal

from circuitscope.core.errors import CircuitScopeError


class Site(IntEnum):
    """Name a place in the forward pass where vectors are read or written."""

    NONE = 0
    EMBED = 1
    POS_EMBED = 2
    RESID_PRE = 3
    RESID_MID = 4
    RESID_POST = 5
    LN1_NORMALIZED = 6
    ATTN_IN = 7
    HEAD_Q = 8
    HEAD_K = 9
    HEAD_V = 10
    PATTERN = 11
    HEAD_Z = 12
    ATTN_OUT = 13
    LN2_NORMALIZED = 14
    MLP_IN = 15
    MLP_HIDDEN = 16
    MLP_OUT = 17
    MLP_TRANSCODER = 18
    LN_FINAL = 19
    LOGITS = 20
    ATTN_OUT_NORM = 21
    """The norm of what attention writes, in post-norm and sandwich blocks."""
    MLP_OUT_NORM = 22
    RESID_MID_NORM = 23
    """The norm of the stream itself after attention, as in BERT."""
    RESID_POST_NORM = 24
    EMBED_NORM = 25
    ATTN_WRITE = 26
    """What attention writes before the norm that follows it; attn_out where none does."""
    MLP_WRITE = 27

    @property
    def text(self) -> str:
        """Return the lower-case spelling used in keys, the API and files."""
        return self.name.lower()

    @property
    def writes(self) -> "Site":
        """Return where in the residual stream this site's vectors land."""
        return _WRITES.get(self, self)

    def hook_name(self, layer: int) -> str:
        """Return the TransformerLens hook name of this site in a layer."""
        name = _HOOK_NAMES[self]
        return name.format(layer=layer)

    @staticmethod
    def parse(text: "str | Site") -> "Site":
        """Read a site from its spelling.

        Raises:
            CircuitScopeError: No site has that name; the message lists them.
        """
        if isinstance(text, Site):
            return text
        try:
            return Site[text.upper()]
        except KeyError:
            names = ", ".join(site.text for site in Site if site is not Site.NONE)
            raise CircuitScopeError(
                f"There is no site called {text!r}.", hint=f"Sites are: {names}."
            ) from None


_WRITES = {
    Site.MLP_TRANSCODER: Site.MLP_OUT, Site.MLP_WRITE: Site.MLP_OUT, Site.ATTN_WRITE: Site.ATTN_OUT,
}  # fmt: skip
_HOOK_NAMES = {
    Site.NONE: "",
    Site.EMBED: "hook_embed",
    Site.POS_EMBED: "hook_pos_embed",
    Site.RESID_PRE: "blocks.{layer}.hook_resid_pre",
    Site.RESID_MID: "blocks.{layer}.hook_resid_mid",
    Site.RESID_POST: "blocks.{layer}.hook_resid_post",
    Site.LN1_NORMALIZED: "blocks.{layer}.ln1.hook_normalized",
    Site.ATTN_IN: "blocks.{layer}.attn.hook_in",
    Site.HEAD_Q: "blocks.{layer}.attn.hook_q",
    Site.HEAD_K: "blocks.{layer}.attn.hook_k",
    Site.HEAD_V: "blocks.{layer}.attn.hook_v",
    Site.PATTERN: "blocks.{layer}.attn.hook_pattern",
    Site.HEAD_Z: "blocks.{layer}.attn.hook_z",
    Site.ATTN_OUT: "blocks.{layer}.hook_attn_out",
    Site.LN2_NORMALIZED: "blocks.{layer}.ln2.hook_normalized",
    Site.MLP_IN: "blocks.{layer}.mlp.hook_in",
    Site.MLP_HIDDEN: "blocks.{layer}.mlp.hook_post",
    Site.MLP_OUT: "blocks.{layer}.hook_mlp_out",
    Site.MLP_TRANSCODER: "blocks.{layer}.hook_mlp_out",
    Site.LN_FINAL: "ln_final.hook_normalized",
    Site.LOGITS: "hook_logits",
    Site.ATTN_OUT_NORM: "blocks.{layer}.ln1_post.hook_normalized",
    Site.MLP_OUT_NORM: "blocks.{layer}.ln2_post.hook_normalized",
    Site.RESID_MID_NORM: "blocks.{layer}.ln1.hook_normalized",
    Site.RESID_POST_NORM: "blocks.{layer}.ln2.hook_normalized",
    Site.EMBED_NORM: "embed.ln.hook_normalized",
    Site.ATTN_WRITE: "blocks.{layer}.attn.hook_out",
    Site.MLP_WRITE: "blocks.{layer}.mlp.hook_out",
}


@dataclass(frozen=True, slots=True)
class ModelAnatomy:
    """Describe a transformer in numbers; saved in the project, needs no torch.

    Attributes:
        architecture: Hugging Face class name, such as "LlamaForCausalLM".
        digest: sha256 over the weights' file names, sizes and headers and config.json.
        norm: "layer" or "rms".
        norm_place: "pre": of what a module reads; "post": of what it writes, before it is added;
            "sandwich": both; "post_add": of the stream itself after each addition, as in BERT.
        parallel_blocks: Whether the MLP reads what attention reads, not what it has written.
        positions: "learned", "rotary", "alibi" or "relative".
        rotary: Rotary settings in words, such as "theta 500000, llama3 x 8"; else "".
        activation: Name of the MLP nonlinearity in transformers' spelling.
        n_labels: Classes of a sequence classifier; 0 for language models.
        attention_window: Positions that local attention looks back; None where all is global.
        labels: Names of the classes.
    """

    architecture: str
    name: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    norm: Literal["layer", "rms"] = "layer"
    norm_place: Literal["pre", "post", "sandwich", "post_add"] = "pre"
    parallel_blocks: bool = False
    positions: Literal["learned", "rotary", "alibi", "relative"] = "learned"
    gated_mlp: bool = False
    activation: str = "gelu_new"
    causal: bool = True
    logit_softcap: float | None = None
    attention_softcap: float | None = None
    digest: str = ""
    rotary: str = ""
    n_labels: int = 0
    attention_window: int | None = None
    labels: tuple[str, ...] = ()

    @property
    def norms_outputs(self) -> bool:
        """Say whether a norm follows attention and MLP before they are added to the stream."""
        return self.norm_place in ("post", "sandwich")

    def as_json(self) -> dict[str, Any]:
        """Return a plain dictionary for files and pipes."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "ModelAnatomy":
        """Rebuild from `as_json`; unknown keys of newer versions are dropped."""
        known = ModelAnatomy.__dataclass_fields__
        given = {key: value for key, value in data.items() if key in known}
        return ModelAnatomy(**given | {"labels": tuple(given.get("labels", ()))})
