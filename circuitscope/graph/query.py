"""The search language: `layer:4 kind:feature mine -pos:0 texas`, parsed and matched.

1. A text is split at white space into terms; quotes keep spaces and signs together, and a term
   with a minus before it is turned round.
2. A term is a field with a value (`layer:2-5`), a flag (`mine`), or a word to look for in labels,
   groups, tokens and keys. Layers, positions, ids, kinds and badges may be lists: `layer:1,3-5`.
3. A node is found where every term is met; the search field and the canvas's filters ask the same.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import QueryError
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import Row, RowKey, Rows
from circuitscope.graph.evidence import Marks, marks_of, untested
from circuitscope.graph.view import find_node, nodes_named

Mask = NDArray[np.bool_]

FIELDS: Final = ("layer", "kind", "token", "pos", "id", "label", "group", "badge", "sign")
FLAGS: Final = ("mine", "pinned", "grouped", "hidden", "untested", "tested")
KINDS: Final[Mapping[str, tuple[NodeKind, ...]]] = {
    "token": (NodeKind.TOKEN,), "position": (NodeKind.POSITION,), "feature": (NodeKind.FEATURE,),
    "error": (NodeKind.ERROR,), "unexplained": (NodeKind.ERROR,), "head": (NodeKind.HEAD,),
    "neuron": (NodeKind.NEURON,), "bias": (NodeKind.BIAS,), "logit": (NodeKind.LOGIT,),
    "score": (NodeKind.SCORE,), "opaque": (NodeKind.OPAQUE,), "attention": (), "mlp": (),
}  # fmt: skip
"""Words of `kind:`; "attention" and "mlp" ask for the module that writes or holds the node."""
BADGES: Final = ("supported", "compensated", "contradicted", "inconclusive")

SIGNS: Final = ("+", "-")
"""Whether the node's own edge into the explained node adds or takes away."""

_ATTENTION: Final = (
    Site.LN1_NORMALIZED, Site.ATTN_IN, Site.HEAD_Q, Site.HEAD_K, Site.HEAD_V, Site.PATTERN,
    Site.HEAD_Z, Site.ATTN_OUT, Site.ATTN_WRITE, Site.ATTN_OUT_NORM,
)  # fmt: skip
_MLP: Final = (
    Site.LN2_NORMALIZED, Site.MLP_IN, Site.MLP_HIDDEN, Site.MLP_OUT, Site.MLP_WRITE,
    Site.MLP_TRANSCODER, Site.MLP_OUT_NORM,
)  # fmt: skip
_TERM: Final = re.compile(r'(-?)(?:([A-Za-z]+):)?(?:"((?:[^"\\]|\\.)*)"|(\S*))(?=\s|$)')
_PLAIN: Final = re.compile(r'[^\s"\\-][^\s"\\:]*')
_RANGE: Final = re.compile(r"(\d{1,18})(?:(-)(\d{1,18})?)?")


@dataclass(frozen=True, slots=True)
class Term:
    """One condition.

    Attributes:
        field: One of `FIELDS`, "is" for a flag, "" for a word looked for everywhere.
        value: What is asked for, as typed.
        negated: Whether nodes that meet it are left out.
    """

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        is_flag = self.field == "is"
        start = "-" * self.negated + (f"{self.field}:" if self.field and not is_flag else "")
        bare = bool(_PLAIN.fullmatch(self.value)) and (
            is_flag or bool(self.field) or self.value.lower() not in FLAGS
        )
        if bare or self.field == "sign":
            return start + self.value
        text = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{start}"{text}"'


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions that a node must all meet; without any, every node does."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))


def parse_query(text: str) -> Query:
    """Read a query; `str` of the result reads back to the same.

    Raises:
        QueryError: A part is not understood; the message names it.
    """
    terms, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TERM.match(text, at)
        assert match is not None, "the last alternative takes anything"
        terms.append(_term(match))
        at = match.end()
    return Query(tuple(terms))


def _term(match: re.Match[str]) -> Term:
    sign, field, quoted, bare = match.groups()
    whole, negated = match.group(), bool(sign)
    if quoted is None and '"' in bare:
        hint = 'Close it, or write \\" for the mark itself.'
        raise QueryError(f"{whole} has a quotation mark too many or too few.", hint=hint)
    value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    if field:
        _check(field.lower(), value, whole)
        return Term(field.lower(), value, negated)
    if not value:
        raise QueryError(f"{whole} asks for nothing.", hint="Put a word there, such as -texas.")
    is_flag = quoted is None and value.lower() in FLAGS
    return Term("is", value.lower(), negated) if is_flag else Term("", value, negated)


def _check(field: str, value: str, whole: str) -> None:
    if field not in FIELDS:
        raise QueryError(
            f"“{field}:” is nothing that can be asked for.",
            hint=f"Known are {_listed(FIELDS, ':')}. Quote a word that has a colon.",
        )
    example = f"For example {_EXAMPLES[field]}."
    if not value.strip():
        raise QueryError(f"{whole} does not say which {field}.", hint=example)
    known = {"kind": tuple(KINDS), "badge": BADGES, "sign": SIGNS}.get(field, ())
    for part in value.split(",") if field in _LISTS else ():
        if known and part.lower() not in known:
            raise QueryError(
                f"{whole}: there is no {field} “{part}”.", hint=f"Known are {_listed(known)}."
            )
        if not known and not _RANGE.fullmatch(part):
            raise QueryError(f"{whole}: “{part}” is neither a number nor a range.", hint=example)


_LISTS: Final = frozenset(["layer", "pos", "id", "kind", "badge", "sign"])
_EXAMPLES: Final = {
    "layer": "layer:4 or layer:2-5", "kind": "kind:feature", "token": "token:Dallas",
    "pos": "pos:7 or pos:3-", "id": "id:214", "label": "label:Texas",
    "group": "group:Texas; grouped is any group", "badge": "badge:supported",
    "sign": "sign:+ or sign:-",
}  # fmt: skip


def _listed(names: tuple[str, ...], end: str = "") -> str:
    return ", ".join(name + end for name in names)


class Matcher:
    """What a query can ask of a circuit and its drawing; make one, ask it often.

    Args:
        circuit: The evidence.
        rows: The drawing's rows: labels, groups, pins, tests.
    """

    def __init__(self, circuit: Circuit, rows: Rows | Mapping[RowKey, Row]) -> None:
        self.circuit = circuit
        self._rows: Rows = dict(rows)

    def find(self, query: Query) -> Mask:
        """Return which nodes meet every term, bool [n]."""
        found = np.ones(len(self.circuit.nodes), np.bool_)
        for term in query.terms:
            met = self._met(term)
            found &= ~met if term.negated else met
        return found

    def _met(self, term: Term) -> Mask:
        nodes = self.circuit.nodes
        if term.field == "is":
            return self._flag(term.value)
        if term.field in ("", "label", "group"):
            return self._worded(term)
        if term.field == "token":
            wanted = term.value.casefold().strip()
            return self._at_tokens(lambda text: text.strip() == wanted)
        parts = term.value.casefold().split(",")
        met = np.zeros(len(nodes), np.bool_)
        for part in parts:
            if term.field == "layer":
                met |= _within(nodes.layer, part) & ~nodes.of_kind(NodeKind.LOGIT)
            elif term.field == "pos":
                met |= _within(nodes.position, part)
            elif term.field == "id":
                met |= _within(nodes.unit, part)
            elif term.field in ("sign", "badge"):
                met |= self._held(part)
            elif part in ("attention", "mlp"):
                sites = _ATTENTION if part == "attention" else _MLP
                met |= np.isin(nodes.site, [int(site) for site in sites]) | (
                    nodes.of_kind(NodeKind.HEAD, NodeKind.SCORE) if part == "attention" else False
                )
            else:
                met |= nodes.of_kind(*KINDS[part])
        return met

    def _held(self, part: str) -> Mask:
        """Return the nodes of a sign or a badge."""
        if part in SIGNS:
            return np.asarray(self._direct > 0 if part == "+" else self._direct < 0)
        met = np.zeros(len(self.circuit.nodes), np.bool_)
        met[[node for node, name in self._badges if name == part]] = True
        return met

    def _flag(self, name: str) -> Mask:
        row_kinds = {"mine": ("label",), "pinned": ("pin",), "grouped": ("member",),
                     "hidden": ("hidden",)}  # fmt: skip
        if name in row_kinds:
            return nodes_named(self.circuit, self._rows, *row_kinds[name])
        if name == "untested":
            return untested(self.circuit, self._marks, np.ones(len(self.circuit.nodes), np.bool_))
        met = np.zeros(len(self.circuit.nodes), np.bool_)
        met[[node for node, _ in self._badges]] = True
        return met

    def _worded(self, term: Term) -> Mask:
        wanted = " ".join(term.value.split()).casefold()
        texts = {"label": (self._labels,), "group": (self._groups,)}.get(
            term.field, (self._labels, self._groups, self._keys)
        )
        met = np.array([any(wanted in column[at] for column in texts)
                        for at in range(len(self.circuit.nodes))], np.bool_)  # fmt: skip
        return met if term.field else met | self._at_tokens(lambda text: wanted in text)

    def _at_tokens(self, meets: Callable[[str], bool]) -> Mask:
        places = [at for at, token in enumerate(self.circuit.tokens) if meets(token.casefold())]
        return np.isin(self.circuit.nodes.position, places)

    @cached_property
    def _marks(self) -> Marks:
        return marks_of(self.circuit, self._rows)

    @cached_property
    def _badges(self) -> tuple[tuple[int, str], ...]:
        """Node and badge of every test of a node or of a group that it is in."""
        alone = [(node, str(run.badge)) for node, run in self._marks.nodes.items()]
        together = [(node, str(run.badge)) for members, run in self._marks.groups.items()
                    for node in members]  # fmt: skip
        return (*alone, *together)

    @cached_property
    def _direct(self) -> NDArray[np.float64]:
        """Weight of each node's edges into the explained nodes, by what these weigh, [n]."""
        circuit, total = self.circuit, np.zeros(len(self.circuit.nodes))
        for root, weight in zip(circuit.roots.tolist(), circuit.root_weights.tolist(), strict=True):
            into = circuit.edges.into(root)
            np.add.at(total, circuit.edges.source[into], weight * circuit.edges.weight[into])
        return total

    @cached_property
    def _labels(self) -> list[str]:
        """Automatic label and the user's own of every node, folded."""
        labels = [text.casefold() for text in self.circuit.labels]
        for index, row in self._rows_by_node("label"):
            labels[index] += "\n" + str(row.get("text", "")).casefold()
        return labels

    @cached_property
    def _groups(self) -> list[str]:
        named = [(key, row) for key, row in self._rows.items() if key.kind == "group" and row]
        names = {key.id: str(row.get("label", "")).casefold() for key, row in named}
        groups = [""] * len(self.circuit.nodes)
        for index, row in self._rows_by_node("member"):
            groups[index] = names.get(str(row.get("group")), "")
        return groups

    @cached_property
    def _keys(self) -> list[str]:
        """Key of every node, and what it is called where it has no label: "l0 #214"."""
        keys = map(self.circuit.nodes.key, range(len(self.circuit.nodes)))
        return [f"{key}\nl{key.layer} #{key.unit}" for key in keys]

    def _rows_by_node(self, kind: str) -> Iterator[tuple[int, Row]]:
        for key, row in self._rows.items():
            if key.kind == kind and row is not None:
                index = find_node(self.circuit, key.id)
                if index is not None:
                    yield index, row


def _within(numbers: NDArray[np.integer], part: str) -> Mask:
    match = _RANGE.fullmatch(part)
    assert match is not None, "checked when parsed"
    first, dash, last = match.groups()
    if not dash:
        return np.asarray(numbers == int(first))
    above = np.asarray(numbers >= int(first))
    return above & (numbers <= int(last)) if last else above
