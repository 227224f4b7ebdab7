"""Walking through JSON piece by piece gives what reading it whole gives, and as good complaints."""

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import silent
from circuitscope.exchange.graph_file import read_graph_file
from circuitscope.exchange.json_stream import BrokenJsonError, NoObjectError, _whole, walk

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
GRAPHS = st.dictionaries(st.sampled_from(["nodes", "links", "metadata", 'é"x', ""]), VALUES)


def whole(content: bytes, piece: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value, is_item in walk(BytesIO(content), ("nodes", "links"), lambda _: None, piece):
        if is_item:
            found[key].append(value)
        else:
            found[key] = value
    return found


@settings(max_examples=200, deadline=None)
@given(GRAPHS, st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_pieces_of_any_size_give_the_same_tree(
    data: dict[str, Any], piece: int, indent: int | None, ascii_only: bool
) -> None:
    content = json.dumps(data, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    assert whole(content, piece) == json.loads(content)


@settings(max_examples=200, deadline=None)
@given(GRAPHS, st.integers(1, 40), st.data())
def test_a_cut_or_changed_text_is_told_where_it_breaks(
    data: dict[str, Any], piece: int, draw: st.DataObject
) -> None:
    content = bytearray(json.dumps(data, indent=1).encode())
    place = draw.draw(st.integers(0, len(content) - 1))
    if draw.draw(st.booleans()):
        del content[place:]
    else:
        content[place] = draw.draw(st.sampled_from(b'{}[],:"x1 \\'))
    line, expected = told(bytes(content))
    if line:
        with pytest.raises((BrokenJsonError, NoObjectError)) as caught:
            whole(bytes(content), piece)
        assert getattr(caught.value, "line", line) == line
    elif isinstance(expected, dict):
        assert whole(bytes(content), piece) == expected


def told(content: bytes) -> tuple[int, Any]:
    """Return the line where the standard library finds a fault, 0 where none, and the value."""
    try:
        return 0, _whole(json.loads(content))
    except json.JSONDecodeError as error:
        return error.lineno, None


def test_marks_halves_and_numbers_that_are_none() -> None:
    assert (
        whole(b'\xef\xbb\xbf{"nodes": [1.5, NaN, -Infinity, "\\ud83d\\ude00\\ud800"]}', 3)["nodes"][
            3
        ]
        == "😀?"
    )
    with pytest.raises(UnicodeDecodeError) as caught:
        whole(b'{"nodes": ["\xff"]}', 4)
    assert caught.value.start == 12


def test_a_value_that_never_ends_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuitscope.exchange.json_stream.LARGEST_VALUE", 1 << 20)
    held = BytesIO(b'{"nodes": ["' + b"x" * (1 << 23))
    with pytest.raises(BrokenJsonError, match="in one value"):
        list(walk(held, ("nodes",), lambda _: None))
    assert held.tell() < 1 << 22


def test_links_before_nodes_and_keys_twice_are_read(graph: dict[str, Any]) -> None:
    turned = {"links": graph["links"], "nodes": graph["nodes"]}
    one, two = (
        read_graph_file(BytesIO(json.dumps(data).encode()), "x", silent())
        for data in (graph, turned)
    )
    assert one.links.ids == two.links.ids
    assert one.links.weight.tolist() == two.links.weight.tolist()
    twice = b'{"nodes": [1], "links": [{}], "nodes": [], "links": [{"source": "a"}, 7]}'
    found = read_graph_file(BytesIO(twice), "x", silent())
    assert found.data == {"nodes": [], "links": []}
    assert (found.links.ids, found.links.unreadable, found.size) == (["a", "None"], 1, len(twice))


def test_nesting_without_end_is_refused() -> None:
    deep = b'{"nodes": [' + b"[" * 200_000
    with pytest.raises(UnreadableGraph, match="no graph needs"):
        read_graph_file(BytesIO(deep), "x.json", silent())
