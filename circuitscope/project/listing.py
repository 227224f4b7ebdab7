"""How a project lists its findings: names that are unique, the user's order, circuits by name."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import Row
from circuitscope.project.findings import FindingInfo

if TYPE_CHECKING:
    from circuitscope.project.contents import Contents


class Circuits(Mapping[str, Circuit]):
    """A project's circuits by name, in order of adding, each read when it is asked for."""

    def __init__(self, project: "Contents") -> None:
        self._project = project

    def _ids(self) -> dict[str, str]:
        infos = self._project.added()
        return {info.name: info.id for info in infos if info.kind == "circuit"}

    def __getitem__(self, name: str) -> Circuit:
        return self._project.circuit(self._ids()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())

    def __repr__(self) -> str:
        return f"<circuits {', '.join(map(repr, self))}>"


def named(infos: list[FindingInfo], names: Mapping[str, Row]) -> list[FindingInfo]:
    """Return findings under their present names, made unique in order of adding.

    Undoing a rename can bring a name back that another finding has taken meanwhile.

    Args:
        infos: In order of adding, with their first names.
        names: Rows of kind `name` by finding id.
    """
    taken: set[str] = set()
    found = []
    for info in infos:
        row = names.get(info.id)
        name = free_name(str(row["text"]) if row and "text" in row else info.name, taken)
        taken.add(name)
        found.append(replace(info, name=name))
    return found


def ordered(infos: list[FindingInfo], order: Mapping[str, Row]) -> list[FindingInfo]:
    """Return findings in the user's order; those without a place come last, as added.

    Args:
        infos: In order of adding.
        order: Rows of kind `order` by finding id.
    """

    def place(info: FindingInfo) -> tuple[bool, int]:
        index = order.get(info.id, {}).get("index")
        return (False, index) if isinstance(index, int) else (True, 0)

    return sorted(infos, key=place)


def free_name(wanted: str, taken: set[str]) -> str:
    """Return a name that is not taken: "Dallas", "Dallas 2", "Dallas 3"."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted} {number}"
    return name
