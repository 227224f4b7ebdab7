"""Say in words what a node is, as the inspector, the search and the tooltips show it."""

from pathlib import Path

from circuitscope.app.words import DOT, percent, shown_token, tr
from circuitscope.core.anatomy import Site
from circuitscope.core.badges import Outcome
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.engine.reasons import AttentionReasons, HeadPart
from circuitscope.project.verbs import nodes_in
from circuitscope.session.session import Session

_ATTENTION = (
    Site.ATTN_OUT, Site.ATTN_WRITE, Site.HEAD_Z, Site.LN1_NORMALIZED, Site.ATTN_IN, Site.HEAD_V,
)  # fmt: skip
_MLP = (Site.MLP_OUT, Site.MLP_WRITE, Site.MLP_IN, Site.MLP_HIDDEN, Site.LN2_NORMALIZED)
_LONG_ID = 1000
_CONSTANTS = (NodeKind.BIAS, NodeKind.POSITION)


def module_name(site: Site) -> str:
    """Return which part of a block a site belongs to: "attention", "MLP" or its own name."""
    if site in _ATTENTION:
        return tr("attention")
    if site is Site.MLP_TRANSCODER:
        return tr("MLP transcoder")
    if site in _MLP:
        return tr("MLP")
    return site.text.replace("_", " ")


def kind_words(key: NodeKey) -> str:
    """Return what a node is without its place: "MLP feature 214", "token", "head 5"."""
    module = module_name(key.site)
    return {
        NodeKind.TOKEN: tr("token"),
        NodeKind.POSITION: tr("position"),
        NodeKind.FEATURE: tr("{0} feature {1}").format(module, key.unit),
        NodeKind.ERROR: tr("unexplained part of the {0} output").format(module),
        NodeKind.HEAD: tr("attention head {0}").format(key.unit),
        NodeKind.NEURON: tr("MLP neuron {0}").format(key.unit) if key.unit >= 0 else tr("MLP"),
        NodeKind.BIAS: bias_words(key.unit),
        NodeKind.LOGIT: tr("logit"),
        NodeKind.SCORE: tr("attention score"),
        NodeKind.OPAQUE: tr("node of unknown type"),
    }[key.kind]


def bias_words(unit: int) -> str:
    """Return which constant a BIAS node holds."""
    return {
        BiasUnit.ENCODER: tr("encoder bias"),
        BiasUnit.DECODER: tr("decoder bias"),
        BiasUnit.MODULE: tr("biases of the module"),
        BiasUnit.NORM: tr("bias of the norm"),
        BiasUnit.UNEMBED: tr("bias of the unembedding"),
    }.get(BiasUnit(unit) if unit in list(BiasUnit) else BiasUnit.MODULE, tr("bias"))


def layer_words(key: NodeKey) -> str:
    """Return "L3", or "" for tokens, logits and what has no layer."""
    has_layer = key.layer >= 0 and key.kind is not NodeKind.LOGIT
    return f"L{key.layer}" if has_layer else ""


def place_words(circuit: Circuit, index: int) -> str:
    """Return a node's token in quotes, or "" where it has no position."""
    token = circuit.node(index).token
    return f"“{shown_token(token)}”" if token else ""


def kind_line(circuit: Circuit, index: int) -> str:
    """Return the line above a node's name: "L0 · MLP feature 214 · “is”"."""
    key = circuit.nodes.key(index)
    words = kind_words(key)
    if key.kind is NodeKind.TOKEN:
        words = tr("token {0}").format(key.position) + DOT + tr("id {0}").format(key.unit)
        return words
    if key.kind is NodeKind.LOGIT:
        words = tr("logit") + DOT + tr("id {0}").format(key.unit)
        return words + DOT + tr("after {0}").format(place_words(circuit, index))
    parts = (layer_words(key), words[:1].upper() + words[1:] if not layer_words(key) else words)
    return DOT.join(part for part in (*parts, place_words(circuit, index)) if part)


def short_line(circuit: Circuit, index: int) -> str:
    """Return the small line below a name in a list: "L2 attention feature 31 · “Dallas”"."""
    key = circuit.nodes.key(index)
    if key.kind is NodeKind.TOKEN:
        return tr("token {0}").format(key.position)
    words = " ".join(part for part in (layer_words(key), kind_words(key)) if part)
    if key.kind is NodeKind.ERROR:
        words = f"{layer_words(key)} {module_name(key.site)}"
    if key.kind is NodeKind.FEATURE and key.unit >= _LONG_ID:
        words = f"{layer_words(key)} {module_name(key.site)} #{key.unit}"
    place = "" if key.kind is NodeKind.LOGIT else place_words(circuit, index)
    return words + (DOT + place if place else "")


def is_named(session: Session, index: int) -> bool:
    """Say whether a node's name is settled: by the user, or because it is a token or a logit."""
    circuit, drawing = session.circuit, session.drawing
    assert circuit is not None
    assert drawing is not None
    key = circuit.nodes.key(index)
    settled = key.kind in (NodeKind.TOKEN, NodeKind.LOGIT, NodeKind.SCORE)
    return settled or drawing.row("label", key) is not None


def list_name(session: Session, index: int) -> str:
    """Return a node's name for a list that also shows its token.

    Of an automatic label "on is → Texas, Houston" only what it promotes is left.
    """
    name = shown_token(session.label(index))
    if _is_error(session, index) and not is_named(session, index):
        return tr("unexplained")
    if is_named(session, index):
        return name
    fires, arrow, promotes = name.partition(" → ")
    return promotes if arrow and promotes and fires.startswith("on ") else name


def _is_error(session: Session, index: int) -> bool:
    circuit = session.circuit
    return circuit is not None and int(circuit.nodes.kind[index]) == NodeKind.ERROR


def model_name(folder: Path) -> str:
    """Return what a model folder is called: its name, or its parent's for ".../model"."""
    return folder.parent.name if folder.name == "model" else folder.name


def root_share(circuit: Circuit, root: int) -> str:
    """Return a root's probability as text; "" for differences, features and directions."""
    probability = circuit.probability(root)
    return "" if probability is None else percent(probability, 1)


def is_attention(circuit: Circuit, index: int) -> bool:
    """Say whether attention feeds a node, or it is a score of attention.

    All edges of an attribution graph may pass attention on their way.
    """
    kind, site = int(circuit.nodes.kind[index]), int(circuit.nodes.site[index])
    if circuit.provenance.method == "attribution" and circuit.expanded[index]:
        return True
    feature = kind == NodeKind.FEATURE and site == Site.ATTN_OUT
    return feature or kind in (NodeKind.HEAD, NodeKind.SCORE)


def head_words(circuit: Circuit, part: HeadPart) -> str:
    """Return who looked where: "head 1.5 looks at “Dallas”"."""
    token = shown_token(circuit.tokens[part.key])
    return tr("head {0}.{1} looks at “{2}”").format(part.layer, part.head, token)


def heads_line(circuit: Circuit, found: AttentionReasons) -> str:
    """Return the heads an edge passes in a line: the two strongest with their pattern weight."""
    if not found.parts:
        return tr("passes no attention head")
    named = [
        tr("{0}, attention {1}").format(head_words(circuit, part), percent(part.pattern))
        for part in found.parts[:2]
    ]
    if rest := len(found.parts) - len(named):
        named.append(tr("{0} more").format(rest))
    return "\n".join(named)


def name_of_test(session: Session, tested: Outcome, most: int = 3) -> str:
    """Return what was tested: a drawn group by its name, an edge by its ends, else the nodes."""
    circuit, drawing = session.circuit, session.drawing
    if tested.kind == "group" and drawing is not None:
        for group, row in drawing.of_kind("group").items():
            if set(nodes_in(drawing, group)) == set(tested.subject):
                return str(row["label"])
    names = []
    for key in tested.subject[: 2 if tested.kind == "edge" else most]:
        node = circuit.nodes.find(key) if circuit is not None else None
        names.append(shown_token(session.label(node)) if node is not None else key)
    if tested.kind == "edge":
        return " → ".join(names)
    more = len(tested.subject) - len(names)
    return ", ".join(names) + (f" + {more}" if more else "")


def is_constant(circuit: Circuit, index: int) -> bool:
    """Say whether a node holds a constant: a bias or a position."""
    return NodeKind(int(circuit.nodes.kind[index])) in _CONSTANTS
