"""The circuit diagram: the pinned and grouped part of a circuit as a figure for a paper.

1. Fold the groups; every box gets its label and a line of small type.
2. Place the boxes: where the user put them, or in layers.
3. Route the edges and find places for their numbers.
4. Title above, caption below.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.core.nesting import parents_of, upwards
from circuitscope.core.rows import Rows
from circuitscope.core.steps import Steps, finish
from circuitscope.exchange import caption
from circuitscope.exchange.annotations import (
    BY_HAND,
    ByHand,
    Item,
    Page,
    frames_of,
    items_of,
    open_groups,
)
from circuitscope.exchange.badges import badge_glyphs, badge_legend
from circuitscope.exchange.drawn_links import drawn_links, strongest_links
from circuitscope.exchange.figure import Box, Curves, Figure, Layer, Text
from circuitscope.exchange.looks import looks_legend, shape_signs
from circuitscope.exchange.placing import places_by_hand, places_of
from circuitscope.exchange.routing import Link, place_numbers, route_steps
from circuitscope.exchange.theme import PRESETS, Preset, Theme, edge_width, share_text
from circuitscope.exchange.typeface import (
    cap_height,
    elide,
    line_height,
    printable,
    text_width,
    wrap,
)
from circuitscope.graph import groups
from circuitscope.graph.evidence import Marks, Run, marks_of, untested
from circuitscope.graph.groups import Subgraph, fold, fold_nodes
from circuitscope.graph.influence import strengths
from circuitscope.graph.layered import Gaps, LayoutBox, layout_steps
from circuitscope.graph.looks import looks_of
from circuitscope.graph.view import View, nodes_named, rows_of, view_of

_AT_ONCE: Final = 50
"""Boxes that are made in one step."""
_FIRST_DIAGRAM: Final = 14
_NUMBER_WEIGHT: Final = 600


@dataclass(frozen=True, slots=True)
class Diagram:
    """A circuit diagram, and what its boxes and curves stand for.

    Attributes:
        figure: What is painted.
        subgraph: The boxes, in the order of the figure's.
        links: The edges, in the order of the figure's curves and numbers.
        by_hand: Makes lines drawn by hand, which end on boxes, nodes drawn by hand and notes.
    """

    figure: Figure
    subgraph: Subgraph
    links: list[Link]
    by_hand: ByHand


def circuit_figure(
    circuit: Circuit, rows: Rows, view: View | None, preset: Preset, theme: Theme
) -> Figure:
    """Draw the circuit diagram; see `exchange.figures`."""
    subgraph = subgraph_of(circuit, rows, view or view_of(circuit, rows))
    return finish(diagram_steps(circuit, rows, view, subgraph, (preset, theme))).figure


def diagram_steps(
    circuit: Circuit,
    rows: Rows,
    view: View | None,
    subgraph: Subgraph,
    style: tuple[Preset, Theme],
) -> Steps[Diagram]:
    """Draw the circuit diagram in steps; `subgraph` is what `subgraph_of` made of it."""
    preset, theme = style
    view = view or view_of(circuit, rows)
    links, left_out = drawn_links(subgraph)
    yield
    boxes = []
    for box in subgraph.boxes:
        boxes.append(face_of(circuit, box, preset, theme))
        if not len(boxes) % _AT_ONCE:
            yield
    head, top = heading(circuit, preset, theme)
    items = items_of(rows, preset, theme)
    placed = yield from _place((subgraph, items, rows), boxes, links, top, style)
    faces, frames, extent = placed
    boxes, added = faces[: len(boxes)], faces[len(boxes) :]
    grown = math.ceil(extent[0] + preset.margin - 0.01)
    width = max(preset.width, grown)
    positive, negative = caption.edge_inks(circuit, theme)
    inks = replace(theme, positive=positive, negative=negative)
    yield
    curves, numbers = yield from _edges(subgraph, boxes, links, preset, inks)

    yield
    rects = np.array([(face.x, face.y, face.width, face.height) for face in faces])
    ends = ends_of(circuit, subgraph, items, rows)
    by_hand = ByHand(rows, ends, rects.reshape(-1, 4), *style)
    leading, sketched = by_hand.lines()
    bottom = max([extent[1], *(n.y + n.height for n in numbers)])
    yield
    marks = marks_of(circuit, rows)
    places = _tested(subgraph, boxes, links, numbers, marks)
    signs, key, bottom = _badges(circuit, view, places, (marks, bottom, preset, theme))
    shapes = shape_signs(subgraph.boxes, boxes, preset, theme)
    drawn = np.zeros(len(circuit.nodes), np.bool_)
    drawn[[int(box.members[0]) for box in subgraph.boxes if not box.is_group]] = True
    looks, bottom = looks_legend(looks_of(circuit, rows).among(drawn), bottom, style)
    notes = caption.caption_of(circuit, view, caption.meaning_of_edges(circuit))
    if sketched.curves is not None or any(item.kind == "sketch_node" for item in items):
        notes[0] += f" {BY_HAND}"
    if left_out:
        notes[0] += f" {caption.counted(left_out, 'weaker edge')} not drawn."
    foot, height = footer(notes, width, bottom, preset, theme)
    behind = [Layer("frames", "Frames", boxes=tuple(frames))] if frames else []
    if leading.curves is not None:
        behind.append(leading)
    sketched = replace(sketched, boxes=(*added, *sketched.boxes))
    written = [sketched] if sketched.boxes or sketched.curves is not None else []
    figure = Figure(
        width, max(height, preset.least_height),
        (
            *behind,
            Layer("edges", "Edges", curves=curves),
            Layer("nodes", "Nodes", boxes=tuple(boxes)),
            Layer("numbers", "Shares", boxes=tuple(numbers)),
            *written, *shapes, *signs, *looks, *key,
            Layer("text", "Title and caption", texts=(*head, *foot)),
        ),
        theme.background, title(circuit), " ".join(notes),
        caption.metadata_of(circuit, view, "circuit"),
        (f"{caption.counted(left_out, 'weaker edge')} not drawn",) if left_out else (),
    )  # fmt: skip
    return Diagram(figure, subgraph, links, by_hand)


def _tested(
    subgraph: Subgraph, boxes: list[Box], links: list[Link], numbers: list[Box], marks: Marks
) -> list[tuple[float, float, Run]]:
    """Return where badges stand: at the corner of tested boxes, beside the numbers of edges."""
    members = [frozenset(int(i) for i in box.members) for box in subgraph.boxes]
    places = [
        (face.x + face.width - 2.0, face.y + 2.0, run)
        for some, face in zip(members, boxes, strict=True)
        if (run := marks.of_members(some)) is not None
    ]
    for link, plate in zip(links, numbers, strict=True):
        ends = members[link.source], members[link.target]
        if all(len(some) == 1 for some in ends):
            run = marks.edges.get((min(ends[0]), min(ends[1])))
            if run is not None:
                x, y = plate.x + plate.width + 0.5 * plate.height, plate.y + plate.height / 2
                places.append((x, y, run))
    return places


def _badges(
    circuit: Circuit,
    view: View,
    places: list[tuple[float, float, Run]],
    told: tuple[Marks, float, Preset, Theme],
) -> tuple[list[Layer], list[Layer], float]:
    """Return the badges, their legend, and where it ends."""
    marks, bottom, preset, theme = told
    if not marks.runs:
        return [], [], bottom
    n_untested = int(untested(circuit, marks, view.pinned & view.nodes).sum())
    legend, end = badge_legend(marks, n_untested, preset.margin, bottom, (preset, theme))
    glyphs = badge_glyphs(places, preset.small, theme)
    signs = [] if glyphs is None else [Layer("badges", "Tests on the model", glyphs=glyphs)]
    return signs, [] if legend is None else [legend], end


def subgraph_of(circuit: Circuit, rows: Rows, view: View) -> Subgraph:
    """Fold what is pinned and grouped; where nothing is, take the strongest nodes."""
    subgraph = fold(circuit, rows, view.nodes)
    if subgraph.boxes:
        return subgraph
    chosen = np.zeros(len(circuit.nodes), np.bool_)
    root = caption.main_root(circuit)
    hidden = nodes_named(circuit, rows, "hidden")
    candidates = view.nodes & ~circuit.nodes.of_kind(NodeKind.LOGIT) & ~hidden
    strength = np.where(candidates, strengths(circuit), -np.inf)
    order = np.argsort(-strength, kind="stable")[:_FIRST_DIAGRAM]
    chosen[order[strength[order] > 0]] = True
    if root is not None:
        chosen[root] = True
    return fold_nodes(circuit, rows, chosen & _touched(circuit, rows, chosen, root))


def _touched(
    circuit: Circuit, rows: Rows, chosen: NDArray[np.bool_], root: int | None
) -> NDArray[np.bool_]:
    """Return which of the chosen nodes an edge worth drawing touches; the root always, bool [n]."""
    subgraph = fold_nodes(circuit, rows, chosen)
    touched = np.zeros(len(circuit.nodes), np.bool_)
    for link in strongest_links(subgraph)[0]:
        for end in (link.source, link.target):
            touched[subgraph.boxes[end].members] = True
    if root is not None:
        touched[root] = True
    return touched


def element_id(prefix: str, name: str) -> str:
    """Return a stable id that XML, CSS and TikZ accept: "n-feature-mlp_out-2-7-57"."""
    return f"{prefix}-{re.sub(r'[^A-Za-z0-9_]', '-', name)}"


def describe(circuit: Circuit, box: groups.Box) -> str:
    """Return the line of small type below a box's label: "6 features · L0–L1", "token 7"."""
    number = len(box.members)
    first = int(box.members[0])
    position = int(circuit.nodes.position[first])
    if box.kind is NodeKind.TOKEN and number == 1:
        return f"token {position}"
    if box.kind is NodeKind.LOGIT and number == 1:
        probability = circuit.probability(first)
        return caption.percent(probability) if probability else "logit"
    what = caption.kind_name(box.kind, number) if box.kind is not None else f"{number} nodes"
    if number == 1:
        what = what.removeprefix("1 ")
    low, high = box.layers
    if box.is_group and box.label_source == "machine":
        what = f"suggested · {what}"
    if box.kind in (NodeKind.TOKEN, NodeKind.POSITION, NodeKind.LOGIT) or high < 0:
        return what
    low = max(low, 0)
    return f"{what} · L{low}" + (f"–L{high}" if high > low else "")


def title(circuit: Circuit) -> str:
    """Return "prompt → answer" with the main root's name."""
    root = caption.main_root(circuit)
    return caption.title_of(circuit, groups.name_of(circuit, root)[0] if root is not None else "")


def heading(circuit: Circuit, preset: Preset, theme: Theme) -> tuple[list[Text], float]:
    """Set the title above a figure; return its texts and where the content may begin."""
    room = preset.width - 2 * preset.margin
    size = preset.title
    lines = wrap(title(circuit), room, size, 600)
    if len(lines) > 2:
        lines = [lines[0], elide(" ".join(lines[1:]), room, size, 600)]
    y = preset.margin * 0.5 + cap_height(size)
    texts = []
    for line in lines:
        texts.append(Text(preset.margin, y, line, size, theme.ink, 600))
        y += line_height(size)
    return texts, y - line_height(size) + 1.6 * size


def footer(
    notes: list[str], width: float, bottom: float, preset: Preset, theme: Theme
) -> tuple[list[Text], float]:
    """Set the caption below a figure; return its texts and the page's height in whole points."""
    y = bottom + 2.6 * preset.small
    texts = []
    for note in notes:
        for line in wrap(note, width - 2 * preset.margin, preset.small):
            texts.append(Text(preset.margin, y, line, preset.small, theme.secondary))
            y += line_height(preset.small) * 1.08
    end = y - line_height(preset.small) + max(preset.margin * 0.5, 0.6 * preset.small)
    return texts, math.ceil(end)


def face_of(circuit: Circuit, box: groups.Box, preset: Preset, theme: Theme) -> Box:
    """Make a box at 0, 0 in its final size, with its texts."""
    fill, stroke, ink, soft = _colors(box, theme)
    is_automatic = box.label_source == "automatic" and box.kind not in (
        NodeKind.TOKEN, NodeKind.LOGIT,
    )  # fmt: skip
    weight = 400 if is_automatic else 600
    ink = soft if is_automatic else ink
    pad = 0.9 * preset.label
    room = max(8.6 * preset.label, 0.17 * preset.width)
    label = printable(box.label) or "·"
    lines = wrap(label, room, preset.label, weight)
    if len(lines) > 2:
        lines = [lines[0], elide(" ".join(lines[1:]), room, preset.label, weight)]
    small = elide(describe(circuit, box), room, preset.small)
    widths = [text_width(line, preset.label, weight, italic=is_automatic) for line in lines]
    width = max(*widths, text_width(small, preset.small), 4.2 * preset.label) + 2 * pad
    step = line_height(preset.label) * 0.92
    y = 0.68 * preset.label + cap_height(preset.label)
    texts = []
    for line in lines:
        texts.append(Text(width / 2, y, line, preset.label, ink, weight, is_automatic, "middle"))
        y += step
    y += 0.18 * preset.small
    texts.append(Text(width / 2, y, small, preset.small, soft, anchor="middle"))
    prefix = "g" if box.is_group else "n"
    return Box(
        0.0, 0.0, math.ceil(width), y + 0.8 * preset.small, fill, stroke, preset.hairline,
        0.5 * preset.label, element_id(prefix, box.id), _tooltip(circuit, box), texts=tuple(texts),
    )  # fmt: skip


def _colors(box: groups.Box, theme: Theme) -> tuple[str, str, str, str]:
    """Return fill, outline, ink and small type's colour of a box."""
    if box.color or box.is_group:
        hue = theme.hue(box.color)
        return theme.wash(hue), hue, theme.ink, theme.secondary
    if box.kind is NodeKind.LOGIT:
        return theme.logit, theme.logit, theme.on_logit, theme.wash(theme.on_logit, 0.75)
    if box.kind is NodeKind.TOKEN:
        return theme.token_fill, theme.token_stroke, theme.ink, theme.secondary
    return theme.background, theme.token_stroke, theme.ink, theme.secondary


def _tooltip(circuit: Circuit, box: groups.Box) -> str:
    keys = [str(circuit.nodes.key(int(i))) for i in box.members[:12]]
    more = len(box.members) - len(keys)
    return f"{printable(box.label)}: {', '.join(keys)}" + (f" and {more} more" if more else "")


def ends_of(circuit: Circuit, subgraph: Subgraph, items: list[Item], rows: Rows) -> dict[str, int]:
    """Return the number of the face that stands for each node key, group id and item id."""
    found = {
        str(circuit.nodes.key(int(i))): number
        for number, box in enumerate(subgraph.boxes) for i in box.members
    }  # fmt: skip
    parents = parents_of(dict(rows_of(rows, "group")))
    boxes = {box.id: number for number, box in enumerate(subgraph.boxes) if box.is_group}
    for name in [*parents, *boxes]:
        shown = next((boxes[one] for one in upwards(name, parents) if one in boxes), None)
        if shown is not None:
            found[name] = shown
    found.update({item.id: len(subgraph.boxes) + at for at, item in enumerate(items)})
    return found


def _place(
    what: tuple[Subgraph, list[Item], Rows],
    boxes: list[Box],
    links: list[Link],
    top: float,
    style: tuple[Preset, Theme],
) -> Steps[tuple[list[Box], list[Box], tuple[float, float]]]:
    """Return boxes and items at their places, frames, and the right and bottom edge of it all."""
    (subgraph, items, rows), (preset, theme) = what, style
    if not boxes and not items:
        return [], [], (0.0, top)
    faces = [*boxes, *(item.face for item in items)]
    size = np.array([[face.width, face.height] for face in faces])
    scale = preset.label / PRESETS["screen"].label
    by_hand = places_of(subgraph.boxes, rows, size[: len(boxes)] / scale)
    if any(place is not None for place in by_hand) or not boxes:
        by_hand += [item.place for item in items]
        corners = places_by_hand(by_hand, size, top, preset)
    else:
        corners = yield from _laid_out(subgraph, boxes, links, top, preset)
        by_hand = [*map(tuple, corners / scale), *(item.place for item in items)]
        corners = np.concatenate([corners, [np.multiply(item.place, scale) for item in items]]) \
            if items else corners  # fmt: skip
        corners += np.maximum(np.array([preset.margin, top]) - corners.min(axis=0), 0.0)
    given = np.array([place or (np.nan, np.nan) for place in by_hand], np.float64)
    page = Page(given, corners, size, scale, 0.9 * preset.label)
    frames = frames_of(rows, page, preset, theme)
    keys = {int(box.members[0]): box.id for box in subgraph.boxes if not box.is_group}
    k = len(boxes)
    frames += open_groups(subgraph, rows, corners[:k], size[:k], style, keys) if k else []
    low = np.array([[frame.x, frame.y] for frame in frames] or [[np.inf, np.inf]]).min(axis=0)
    shift = np.maximum(np.array([0.4 * preset.margin, top - 0.4 * preset.label]) - low, 0.0)
    placed = [_moved(face, *corner) for face, corner in zip(faces, corners + shift, strict=True)]
    frames = [_moved(frame, *shift) for frame in frames]
    right = max(face.x + face.width for face in [*placed, *frames])
    bottom = max(face.y + face.height for face in [*placed, *frames])
    return placed, frames, (right, bottom)


def _moved(box: Box, dx: float, dy: float) -> Box:
    texts = tuple(replace(t, x=float(t.x + dx), y=float(t.y + dy)) for t in box.texts)
    return replace(box, x=float(box.x + dx), y=float(box.y + dy), texts=texts)


def _laid_out(
    subgraph: Subgraph, boxes: list[Box], links: list[Link], top: float, preset: Preset
) -> Steps[NDArray[np.float64]]:
    """Return the corners of boxes in layers, in the middle of the page, [k, 2]."""
    room = preset.width - 2 * preset.margin
    gaps = Gaps(1.2 * preset.label, 4 * preset.label, room)
    ends = {NodeKind.TOKEN: "bottom", NodeKind.LOGIT: "top"}
    inputs = [
        LayoutBox(
            face.width, face.height, box.stage, box.position,
            "" if box.kind is None or box.is_group else ends.get(box.kind, ""),  # type: ignore[arg-type]  # Literal by table
        )
        for box, face in zip(subgraph.boxes, boxes, strict=True)
    ]  # fmt: skip
    places = yield from layout_steps(inputs, [(link.source, link.target) for link in links], gaps)
    width = np.array([box.width for box in boxes])
    spare = room - float((places[:, 0] + width).max())
    corners: NDArray[np.float64] = places + np.array([preset.margin + max(spare / 2, 0.0), top])
    return corners


def _edges(
    subgraph: Subgraph, boxes: list[Box], links: list[Link], preset: Preset, theme: Theme
) -> Steps[tuple[Curves | None, list[Box]]]:
    if not links:
        return None, []
    rects = [(box.x, box.y, box.width, box.height) for box in boxes]
    routes = yield from route_steps(rects, links, 0.9 * preset.label)
    shares = np.array([link.share for link in links])
    widths = np.array([edge_width(share, preset.line) for share in shares], np.float32)
    names = [subgraph.boxes[link.source].label for link in links]
    ends = [subgraph.boxes[link.target].label for link in links]
    numbers = [share_text(link.share) for link in links]
    curves = Curves(
        np.concatenate(routes).astype(np.float32),
        np.repeat(np.arange(len(links)), [len(r) for r in routes]).astype(np.int32),
        widths, (shares < 0).astype(np.uint8), shares < 0,
        (1.6 * widths + 0.42 * preset.label).astype(np.float32),
        (theme.positive, theme.negative),
        tuple(
            element_id("e", f"{subgraph.boxes[a.source].id}--{subgraph.boxes[a.target].id}")
            for a in links
        ),
        tuple(f"{printable(a)} → {printable(b)}: {n}" for a, b, n in
              zip(names, ends, numbers, strict=True)),
    )  # fmt: skip
    size = preset.small
    pad = 0.35 * size
    room = [(text_width(number, size, _NUMBER_WEIGHT) + 2 * pad, 1.25 * size) for number in numbers]
    spots = yield from place_numbers(routes, room, shares.tolist(), rects, 0.55 * size)
    plates = []
    for (x, y), (width, height), number, share in zip(spots, room, numbers, shares, strict=True):
        color = theme.negative if share < 0 else theme.positive
        baseline = y + cap_height(size) / 2
        text = Text(x, baseline, number, size, color, _NUMBER_WEIGHT, anchor="middle")
        plates.append(
            Box(x - width / 2, y - height / 2, width, height, theme.background, "", 0.0, pad,
                texts=(text,))
        )  # fmt: skip
    return curves, plates
