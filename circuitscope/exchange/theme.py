"""Colours, signs and sizes of figures; the print theme is the default of every export.

Sign is told twice: blue and solid for positive, burnt orange and dashed for negative, so that it
survives grey print and colour blindness. Kinds are told by shape first, groups by hue. The
window's palettes take these colours for their canvas.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CannotExpress
from circuitscope.core.keys import NodeKind
from circuitscope.core.rows import GROUP_COLORS
from circuitscope.exchange.figure import Shape

MINUS: Final = "−"


@dataclass(frozen=True)
class Theme:
    """Name every colour of a figure; values are "#RRGGBB".

    Attributes:
        background: The page.
        ink: Text and logits; secondary: small type; faint: what is out of focus.
        hairline: Lines between things; grid: rows and columns of the link graph.
        positive, negative: Sign of an edge; supported: confirmed on the unfrozen model.
        token, logit, feature, attention, error: Fill of nodes that belong to no group.
        tint: How much of a hue fills a box, 0 to 1.
        groups: Hue of each group colour name.
    """

    background: str = "#FFFFFF"
    ink: str = "#1F2430"
    secondary: str = "#667085"
    faint: str = "#C9CDD6"
    hairline: str = "#E4E3DF"
    grid: str = "#F0EFEC"
    positive: str = "#2B6CB0"
    negative: str = "#C2571A"
    supported: str = "#1E7B45"
    token: str = "#475467"
    logit: str = "#1F2430"
    on_logit: str = "#FFFFFF"
    feature: str = "#98A2B3"
    attention: str = "#B9B2D0"
    token_fill: str = "#F2F4F8"
    token_stroke: str = "#98A2B3"
    tint: float = 0.12
    groups: dict[str, str] = field(
        default_factory=lambda: {
            "teal": "#0F8A7E", "violet": "#8A5CC2", "amber": "#B7791F", "rose": "#C2477F",
            "sky": "#2E7FB8", "olive": "#6B7F1F", "slate": "#5B6B82", "brick": "#A5483A",
        }
    )  # fmt: skip

    @property
    def relevance(self) -> tuple[str, str]:
        """Return the colours of relevances, which are no direct effects: for and against."""
        return self.groups["violet"], self.groups["amber"]

    @property
    def flow(self) -> str:
        """Return the colour of shares of states, which are no effects at all."""
        return self.groups["teal"]

    def hue(self, color: str) -> str:
        """Return the hue of a group colour name; "#RRGGBB" passes through."""
        if len(color) == 7 and color.startswith("#"):
            return color
        return self.groups.get(color, self.groups[GROUP_COLORS[0]])

    def wash(self, color: str, share: float | None = None) -> str:
        """Return a colour thinned into the page: opaque, as print and bulk drawing need it."""
        return mix(color, self.background, self.tint if share is None else share)


PRINT: Final = Theme()
DARK: Final = Theme(
    background="#1C1F26", ink="#E8EAF0", secondary="#9BA4B4", faint="#4B5260",
    hairline="#2D323C", grid="#23272F", positive="#6FABEE", negative="#F0935A",
    supported="#5CC98A", token="#B4BDCC", logit="#F2F4F8", on_logit="#15171C",
    feature="#7D8798", attention="#8C82B0", token_fill="#262A33", token_stroke="#7D8798", tint=0.2,
    groups={
        "teal": "#2DB5A6", "violet": "#AE86E0", "amber": "#DBA449", "rose": "#E374A6",
        "sky": "#5BA8DD", "olive": "#9DB04A", "slate": "#8C9CB4", "brick": "#D9796A",
    },
)  # fmt: skip
HIGH_CONTRAST: Final = replace(
    PRINT, ink="#000000", secondary="#303030", faint="#9A9A9A", hairline="#5A5A5A",
    grid="#DDDDDD", positive="#003E8A", negative="#8A2E00", supported="#00532A", token="#202020",
    logit="#000000", feature="#5A5A5A", attention="#5A4A8A", tint=0.06,
    groups={
        "teal": "#005E55", "violet": "#5A2A99", "amber": "#7A4B00", "rose": "#8E1450",
        "sky": "#00507E", "olive": "#424F00", "slate": "#34435A", "brick": "#7A2418",
    },
)  # fmt: skip


def mix(color: str, over: str, share: float) -> str:
    """Return `share` of a colour mixed into a background, "#RRGGBB"."""
    parts = zip(_channels(color), _channels(over), strict=True)
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02X}" for a, b in parts)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


PresetName = Literal["screen", "1-column", "2-column", "slide"]


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes of a figure in points.

    Attributes:
        width: Page width.
        label: Font size of names; small: of everything else; title: of the title.
        line: Width of the strongest edge; hairline: width of outlines and rules.
        margin: Free room around.
        least_height: Height that a figure is stretched to, 0 where it ends with its content.
    """

    name: str
    width: float
    label: float
    small: float
    title: float
    line: float
    hairline: float
    margin: float
    least_height: float = 0.0


PRESETS: Final = {
    "screen": Preset("screen", 900, 15, 11, 15, 4.5, 1.2, 40),
    "1-column": Preset("1-column", 3.25 * 72, 7.5, 7, 8, 1.8, 0.6, 4),
    "2-column": Preset("2-column", 6.75 * 72, 8.5, 7, 9, 2.4, 0.7, 6),
    "slide": Preset("slide", 960, 18, 13, 24, 5, 1.4, 48, 540),
}


_OTHER_NAMES: Final = {"column": "1-column", "columns": "2-column"}


def preset_named(name: str) -> Preset:
    """Return a size preset.

    Raises:
        CannotExpress: There is no preset of that name; the hint lists them.
    """
    try:
        return PRESETS[_OTHER_NAMES.get(name, name)]
    except KeyError:
        raise CannotExpress(
            f"There is no figure size called {name!r}.",
            kept="Nothing was written.",
            hint=f"Sizes are: {', '.join(PRESETS)}.",
        ) from None


_ATTENTION: Final = frozenset({Site.ATTN_OUT, Site.HEAD_Z, Site.LN1_NORMALIZED, Site.HEAD_V})
_SHAPES: Final = {
    NodeKind.TOKEN: Shape.SQUARE,
    NodeKind.POSITION: Shape.CROSS,
    NodeKind.NEURON: Shape.DISC,
    NodeKind.ERROR: Shape.HOLLOW_DIAMOND,
    NodeKind.HEAD: Shape.TRIANGLE,
    NodeKind.BIAS: Shape.CROSS,
    NodeKind.LOGIT: Shape.SQUARE,
    NodeKind.SCORE: Shape.RING,
    NodeKind.OPAQUE: Shape.DIAMOND,
}


def shape_of(kind: NodeKind, site: Site) -> Shape:
    """Return the sign of a node: square token and logit, disc MLP, triangle attention, ..."""
    if kind is NodeKind.FEATURE:
        return Shape.TRIANGLE if site in _ATTENTION else Shape.DISC
    return _SHAPES[kind]


NAMED_SHAPES: Final = {
    "disc": Shape.DISC, "square": Shape.SQUARE, "triangle": Shape.TRIANGLE,
    "diamond": Shape.DIAMOND, "ring": Shape.RING,
}  # fmt: skip
"""Signs by their names in drawings, `core.rows.LOOK_SHAPES`."""


def color_of(kind: NodeKind, site: Site, theme: Theme) -> str:
    """Return the fill of a node that belongs to no group."""
    if kind in (NodeKind.LOGIT, NodeKind.TOKEN):
        return theme.logit if kind is NodeKind.LOGIT else theme.token
    return theme.attention if shape_of(kind, site) is Shape.TRIANGLE else theme.feature


def share_text(share: float) -> str:
    """Write a signed share as users read it: "+.62", a real minus in "−.12", "+1.00"."""
    rounded = f"{abs(share):.2f}"
    sign = MINUS if share < 0 else "+"
    return sign + (rounded[1:] if rounded.startswith("0") else rounded)


def edge_width(share: float, strongest: float) -> float:
    """Return the line width of an edge: a square-root scale, so that weak edges stay visible."""
    return max(strongest * math.sqrt(min(abs(share), 1.0)), 0.18 * strongest)
