"""Read attribution-graph JSON from its file, with two million links in the room of their numbers.

Links come off the file one by one (`exchange.json_stream`) and are kept as columns: the numbers of
their ends' ids, and their weight. Everything else of a graph is small and is kept as it is.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.exchange.graph_nodes import finite
from circuitscope.exchange.json_stream import BrokenJsonError, NoObjectError, walk

LARGEST_FILE: Final = 512 * 1024 * 1024
_LARGEST_WEIGHT: Final = 3.4e38
_SEEMS: Final = (
    ("examples_quantiles", "the details of one feature"),
    ("architectures", "the configuration of a model"),
    ("cells", "a Jupyter notebook"),
    ("graphs", "an index of graphs; choose one of the files that it lists"),
    ("qParams", "a saved view without its graph"),
)


class Links:
    """The links of a graph file as columns, in the order of the file.

    Attributes:
        unreadable: How many items of the list were no links.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._source, self._target, self._weight = array("i"), array("i"), array("d")
        self.unreadable = 0

    def add(self, link: Any) -> None:
        """Take one item of the list."""
        if not isinstance(link, dict):
            self.unreadable += 1
            return
        numbers = self._numbers
        self._source.append(numbers.setdefault(str(link.get("source")), len(numbers)))
        self._target.append(numbers.setdefault(str(link.get("target")), len(numbers)))
        weight = link.get("weight")
        number = finite(weight, np.inf)
        sound = number == weight and abs(number) <= _LARGEST_WEIGHT
        self._weight.append(number if sound else np.nan)

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        source: NDArray[np.int32],
        target: NDArray[np.int32],
        weight: NDArray[np.float64],
    ) -> "Links":
        """Make links from columns; the ids are all different, `source` and `target` count them."""
        made = cls()
        made._numbers = {name: number for number, name in enumerate(ids)}
        made._source.frombytes(source.astype(np.int32).tobytes())
        made._target.frombytes(target.astype(np.int32).tobytes())
        sound = np.abs(weight) <= _LARGEST_WEIGHT
        made._weight.frombytes(np.where(sound, weight, np.nan).astype(np.float64).tobytes())
        return made

    def __len__(self) -> int:
        return len(self._source)

    @property
    def ids(self) -> list[str]:
        """Return the ids that links name, each once; `source` and `target` count in them."""
        return list(self._numbers)

    @property
    def source(self) -> NDArray[np.int32]:
        """Return where each link begins, int32 [m]."""
        return np.frombuffer(self._source, np.int32) if self._source else np.zeros(0, np.int32)

    @property
    def target(self) -> NDArray[np.int32]:
        """Return where each link ends, int32 [m]."""
        return np.frombuffer(self._target, np.int32) if self._target else np.zeros(0, np.int32)

    @property
    def weight(self) -> NDArray[np.float64]:
        """Return the weights, float64 [m]; not a number where a link has none that is finite."""
        return np.frombuffer(self._weight, np.float64) if self._weight else np.zeros(0)


@dataclass
class GraphFile:
    """What a graph file holds.

    Attributes:
        data: Its tree; the list of links is empty where the links are in `links`.
        links: Its links as columns; empty where they are in `data`.
        digest: sha256 of its bytes.
        size: Number of its bytes.
    """

    data: dict[str, Any] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    digest: str = ""
    size: int = 0


def read_graph_file(
    file: BinaryIO, name: str, progress: Progress, *, size: int = 0, as_tree: bool = False
) -> GraphFile:
    """Read a graph file and check that it holds a graph.

    Args:
        file: From its beginning.
        name: For messages.
        progress: Hears of every piece; may cancel.
        size: Bytes of the file, 0 where unknown.
        as_tree: Keep the links in the tree, to write the file again.

    Raises:
        UnreadableGraph: It is no JSON (line and column are named) or no graph.
    """
    progress.phase(f"Reading {name}", size)
    total = hashlib.sha256()
    found = GraphFile()

    def heard(raw: bytes) -> None:
        total.update(raw)
        found.size += len(raw)
        progress.advance(len(raw))

    try:
        _fill(found, file, heard, as_tree=as_tree)
    except UnicodeDecodeError as error:
        raise unreadable(
            f"{name} is not text: byte {error.start} is not UTF-8.",
            "Graph files are JSON text. Choose another file.",
        ) from error
    except BrokenJsonError as error:
        raise unreadable(
            f"{name} is not valid JSON: {error.message} at line {error.line}, "
            f"column {error.column}.",
            "The file may be cut off or edited by hand. Download or export it again.",
        ) from error
    except NoObjectError as error:
        raise unreadable(
            f"{name} holds a {error.kind}, not a graph.",
            "A graph file is an object with nodes and links.",
        ) from error
    except (RecursionError, ValueError) as error:
        raise unreadable(
            f"{name} is JSON of a kind that no graph needs: {error}.", "Choose another file."
        ) from error
    _check(found.data, name)
    found.digest = total.hexdigest()
    return found


def _fill(found: GraphFile, file: BinaryIO, heard: Any, *, as_tree: bool) -> None:
    for key, value, is_item in walk(file, ("nodes", "links"), heard):
        if not is_item:
            found.data[key] = value
            if key == "links":
                found.links = Links()
        elif key == "links" and not as_tree:
            found.links.add(value)
        else:
            found.data[key].append(value)


def _check(data: dict[str, Any], name: str) -> None:
    missing = [part for part in ("nodes", "links") if not isinstance(data.get(part), list)]
    if missing:
        seems = next((f" It seems to be {what}." for key, what in _SEEMS if key in data), "")
        raise unreadable(
            f"{name} is not a graph: it has no list of {' or '.join(missing)}.{seems}",
            "Choose a graph file from Neuronpedia, circuit-tracer or CircuitScope.",
        )


def unreadable(message: str, hint: str) -> UnreadableGraph:
    """Return the error for a file that is no graph."""
    return UnreadableGraph(message, kept="Nothing was imported.", hint=hint)
