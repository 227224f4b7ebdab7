"""Names of nodes in attribution-graph JSON, read into our keys and written from them.

Three families of files are in use: circuit-tracer ("{layer}_{feature}_{position}", the error node
"0_{layer}_{position}", the token "E_{token}_{position}", the logit "{n_layers + 1}_{token}_{pos}"),
Language-Model-SAEs ("{layer}_cro_{feature}_{position}", logits at n_layers) and Anthropic's own.
A number in `feature` is either a Cantor pair of layer and feature, or the layer followed by five
digits; the id is tried first, because it needs no guessing.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from circuitscope.core.anatomy import Site
from circuitscope.core.keys import NodeKey, NodeKind

KINDS: Final = {
    "embedding": (NodeKind.TOKEN, Site.EMBED),
    "cross layer transcoder": (NodeKind.FEATURE, Site.MLP_TRANSCODER),
    "per layer transcoder": (NodeKind.FEATURE, Site.MLP_TRANSCODER),
    "unexplored node": (NodeKind.FEATURE, Site.MLP_TRANSCODER),
    "mlp reconstruction error": (NodeKind.ERROR, Site.MLP_OUT),
    "lorsa": (NodeKind.FEATURE, Site.ATTN_OUT),
    "lorsa error": (NodeKind.ERROR, Site.ATTN_OUT),
    "logit": (NodeKind.LOGIT, Site.LOGITS),
    "bias": (NodeKind.BIAS, Site.NONE),
}
_TEXTS: Final = {
    NodeKind.TOKEN: "embedding", NodeKind.LOGIT: "logit", NodeKind.BIAS: "bias",
    NodeKind.POSITION: "position embedding", NodeKind.HEAD: "attention head",
    NodeKind.NEURON: "mlp neuron", NodeKind.SCORE: "attention score", NodeKind.OPAQUE: "unknown",
}  # fmt: skip
_ATTENTION: Final = (Site.ATTN_OUT, Site.HEAD_Z)
_PLAIN_ID: Final = re.compile(r"^(\d+|E)_(?:[a-z]+_)?(\d+)_(\d+)$")
_JS_ID: Final = re.compile(r"^(\d+)_(\d+)-\d+$")
_PROBABILITY: Final = re.compile(r"\(p=\s*([0-9.eE+-]+)\)")
_OUTPUT: Final = re.compile(r'^\s*Output\s+"(.*)"\s*(?:\(p=.*\))?\s*$', re.DOTALL)
_EMBEDDING: Final = re.compile(r'^\s*Emb(?:edding)?:?\s+"(.*)"\s*$', re.DOTALL)


def whole(value: Any, default: int) -> int:
    """Read a whole number that files write as a number or as text."""
    if isinstance(value, bool):
        return default
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            return default
    return default


def finite(value: Any, default: float = 0.0) -> float:
    """Read a number; the default where it is missing, no number, or not finite."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return default
        return number if math.isfinite(number) else default
    return default


def uncantor(number: int) -> tuple[int, int]:
    """Return layer and feature of a Cantor pair, exactly."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def cantor(layer: int, feature: int) -> int:
    """Return the Cantor pair of layer and feature."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def kind_of(node: Mapping[str, Any]) -> tuple[NodeKind, Site]:
    """Return what a node stands for; OPAQUE for types that we do not know."""
    text = str(node.get("feature_type", "")).strip().lower()
    if text in KINDS:
        return KINDS[text]
    if "bias" in text:
        return NodeKind.BIAS, Site.ATTN_OUT if "attn" in text else Site.MLP_OUT
    return NodeKind.OPAQUE, Site.NONE


def layer_of(node: Mapping[str, Any]) -> int:
    """Return a node's layer, -1 for embeddings and for what has none."""
    return max(-1, min(whole(node.get("layer"), -1), 30_000))


def unit_of(node: Mapping[str, Any], name: str, kind: NodeKind) -> int:
    """Return feature, token or neuron number; -1 where the file does not say."""
    if kind in (NodeKind.ERROR, NodeKind.BIAS):
        return -1 if kind is NodeKind.ERROR else 0
    found = _PLAIN_ID.match(name)
    if found and len(found[2]) < 19:
        return int(found[2])
    found = _JS_ID.match(str(node.get("jsNodeId", "")))
    if found and kind is NodeKind.FEATURE and len(found[2]) < 19:
        return int(found[2])
    number = whole(node.get("feature"), -1)
    if kind is NodeKind.TOKEN or not 0 <= number < 1 << 62:
        return -1
    layer = layer_of(node)
    pair = uncantor(number)
    if kind is NodeKind.FEATURE and pair[0] == layer:
        return pair[1]
    text = str(number)
    if kind is NodeKind.FEATURE and text[:-5] == (str(layer) if layer else ""):
        return int(text[-5:])
    return number


def probability_of(node: Mapping[str, Any]) -> float | None:
    """Return a logit's probability from `token_prob` or from its label; None where unknown."""
    given = node.get("token_prob")
    if isinstance(given, int | float) and 0 < given <= 1:
        return float(given)
    found = _PROBABILITY.search(str(node.get("clerp") or ""))
    try:
        value = float(found[1]) if found else -1.0
    except ValueError:
        return None
    return value if 0 < value <= 1 else None


def label_of(node: Mapping[str, Any], kind: NodeKind) -> str:
    """Return a node's label without the wrapping that files put around tokens."""
    text = str(node.get("clerp") or node.get("remoteClerp") or "")
    if kind is NodeKind.LOGIT:
        found = _OUTPUT.match(text)
        return found[1] if found else text
    if kind is NodeKind.TOKEN:
        found = _EMBEDDING.match(text)
        return found[1] if found else text
    return text


def type_text(key: NodeKey) -> str:
    """Return the `feature_type` that stands for a key."""
    attention = key.site in _ATTENTION
    if key.kind is NodeKind.FEATURE:
        return "lorsa" if attention else "cross layer transcoder"
    if key.kind is NodeKind.ERROR:
        return "lorsa error" if attention else "mlp reconstruction error"
    return _TEXTS[key.kind]


def file_id(key: NodeKey, n_layers: int) -> str:
    """Return a `node_id` that no other node of the circuit shares."""
    layer, unit, position = key.layer, key.unit, max(key.position, 0)
    if key.kind is NodeKind.TOKEN:
        return f"E_{unit}_{position}"
    if key.kind is NodeKind.LOGIT:
        return f"{n_layers + 1}_{unit}_{position}"
    if key.kind is NodeKind.FEATURE and key.site is Site.MLP_TRANSCODER:
        return f"{layer}_{unit}_{position}"
    return f"{key.kind.text}-{key.site.text}_{layer}_{unit}_{key.position}"
