"""From nodes of a circuit to changes that can be tried on the model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.intervention import Intervention, Mode
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.project.file import ProjectFile
from circuitscope.session.preferences import Preferences

CHANGEABLE = (
    NodeKind.FEATURE, NodeKind.NEURON, NodeKind.HEAD, NodeKind.TOKEN, NodeKind.POSITION,
)  # fmt: skip
"""Kinds of nodes that stand for something the model can be made to do without."""
_BESIDE = ("dictionaries", "transcoders", "saes")


def change_of(
    key: NodeKey,
    mode: Mode = "zero",
    value: Any = None,
    *,
    everywhere: bool = False,
    dictionary: str = "",
) -> Intervention:
    """Return the change of one node.

    Args:
        key: A node of a kind in `CHANGEABLE`.
        mode: How it is changed.
        value: What the mode needs; for swap the other prompt.
        everywhere: At all positions, new tokens included, instead of the node's own.
        dictionary: Digest of a feature's dictionary; "" for any that fits.
    """
    assert key.kind in CHANGEABLE, f"{key.kind.text} nodes cannot be changed"
    own = None if everywhere or key.position < 0 else [key.position]
    change = Intervention(key.site, max(key.layer, 0), positions=own, mode=mode, value=value)
    if key.kind is NodeKind.FEATURE:
        return replace(change, feature=key.unit, dictionary=dictionary)
    if key.kind is NodeKind.HEAD:
        return replace(change, site=Site.HEAD_Z, head=key.unit)
    if key.kind is NodeKind.NEURON:
        return replace(change, site=Site.MLP_HIDDEN, units=[key.unit])
    return change


@dataclass(frozen=True, slots=True)
class StandIn:
    """A group of features in another circuit of the project, to be put in the place of nodes.

    Attributes:
        name: The group's; of: the other circuit's name.
        circuit: The other circuit.
        members: Keys of the group's features in it.
    """

    name: str
    of: str
    circuit: Circuit
    members: tuple[NodeKey, ...]


def stand_ins(project: ProjectFile, circuit_id: str) -> list[StandIn]:
    """Return the groups of features in the other circuits of a project."""
    found = []
    for info in project.findings():
        if info.kind != "circuit" or info.id == circuit_id:
            continue
        rows = project.drawing(info.id)
        for group_id, row in rows.of_kind("group").items():
            keys = [NodeKey.parse(key) for key, member in rows.of_kind("member").items()
                    if member["group"] == group_id]  # fmt: skip
            features = tuple(key for key in keys if key.kind is NodeKind.FEATURE)
            if features:
                circuit = project.circuit(info.id)
                found.append(StandIn(str(row["label"]), info.name, circuit, features))
    return found


def swap_in(
    circuit: Circuit, keys: Iterable[NodeKey], other: StandIn, strength: float = 1.0
) -> tuple[Intervention, ...]:
    """Return what switches nodes off and another circuit's features on, where the nodes are.

    Args:
        circuit: The circuit that the nodes are of.
        keys: The nodes; their positions are where the other features come in.
        other: What stands in; each feature is set to its value in its own circuit.
        strength: Factor on that value.
    """
    out = list(keys)
    off = [change_of(key, dictionary=digest_for(circuit, key)) for key in out]
    places = sorted({key.position for key in out if key.position >= 0})
    on = []
    for key in other.members:
        node = other.circuit.nodes.find(key)
        if node is not None and places:
            change = change_of(key, "set", strength * float(other.circuit.nodes.activation[node]),
                               dictionary=digest_for(other.circuit, key))  # fmt: skip
            on.append(replace(change, positions=places))
    return unique_changes((*off, *on))


def digest_for(circuit: Circuit, key: NodeKey) -> str:
    """Return the digest of the dictionary that a feature of a circuit belongs to, or ""."""
    site = key.site.writes
    for card in circuit.provenance.dictionaries:
        written = Site.parse(card.get("write_site", "none")).writes
        if written is site and key.layer in card.get("layers", ()):
            return str(card.get("digest", ""))
    return ""


def unique_changes(changes: Iterable[Intervention]) -> tuple[Intervention, ...]:
    """Drop repetitions: one feature at three positions is one feature when changed everywhere."""
    found: dict[tuple[Any, ...], Intervention] = {}
    for change in changes:
        units = tuple(change.units or ())
        at = None if change.positions is None else tuple(change.positions)
        key = (change.site, change.layer, change.head, units, at, change.feature)
        found.setdefault(key, change)
    return tuple(found.values())


def dictionary_folders(
    circuit: Circuit | None, model: Path | None, preferences: Preferences
) -> tuple[str, ...]:
    """Return the folders that may hold a circuit's dictionaries, those of the trace first."""
    remembered = preferences.recent.dictionaries.get(str(model), [])
    settings = circuit.provenance.settings if circuit is not None else {}
    named = [str(path) for path in settings.get("dictionaries") or ()]
    around = [model, model.parent] if model is not None else []
    beside = [str(folder / name) for folder in around for name in _BESIDE]
    places = dict.fromkeys([*named, *remembered, *beside])
    return tuple(path for path in places if Path(path).is_absolute() and Path(path).is_dir())
