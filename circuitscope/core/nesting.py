"""Groups in groups: a group's row names the group around it in its field `parent`.

A file may name a parent that is not there, or parents in a ring; such a parent counts as none.
"""

from collections.abc import Collection, Mapping

from circuitscope.core.rows import Row


def parents_of(groups: Mapping[str, Row]) -> dict[str, str]:
    """Return the group around each nested group, rings cut open.

    Args:
        groups: Rows of kind `group` by id.
    """
    found: dict[str, str] = {}
    for name in sorted(groups):
        above = str(groups[name].get("parent", ""))
        if above in groups and name not in upwards(above, found):
            found[name] = above
    return found


def upwards(group: str, parents: Mapping[str, str]) -> list[str]:
    """Return a group and all groups around it, the outermost last."""
    line = [group]
    while line[-1] in parents:
        line.append(parents[line[-1]])
    return line


def inside(group: str, parents: Mapping[str, str]) -> set[str]:
    """Return a group and all groups within it."""
    return {group, *(name for name in parents if group in upwards(name, parents))}


def box_of(group: str, parents: Mapping[str, str], opened: Collection[str]) -> str:
    """Return the group whose box stands for a member: the outermost closed one; "" for none."""
    closed = [name for name in upwards(group, parents) if name not in opened]
    return closed[-1] if closed else ""
