"""One HTML file with the figure, to be looked at by anyone with a browser: pan, zoom, tooltips.

The figure is the SVG with its font inside. A policy in the page forbids every request, so the file
works on a train and tells nobody that it was opened.
"""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from circuitscope.core.errors import UnreadableGraph
from circuitscope.core.progress import Progress
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.page import POLICY, SCRIPT, STYLE
from circuitscope.exchange.saving import save_bytes
from circuitscope.exchange.vector import svg_text
from circuitscope.exchange.xml_text import legal_xml

_PAGE: Final = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="CircuitScope $version">
<title>$title</title>
<style>$style</style>
</head>
<body>
<div id="stage" tabindex="0" role="application" aria-label="$title">
$picture
</div>
<div id="bar"><button id="in" title="Zoom in (+)">+</button>
<button id="out" title="Zoom out (-)">&#8722;</button>
<button id="fit" title="Show all (0)">Fit</button>
<span>CircuitScope $version &#183; circuit $digest</span></div>
<details><summary>$description</summary><pre id="provenance">$provenance</pre></details>
<div id="tip" role="tooltip"></div>
<script>$script</script>
</body>
</html>
"""
)


def html_text(figure: Figure, *, transparent: bool = False) -> str:
    """Return a figure as one HTML page."""
    picture = svg_text(figure, transparent=transparent).partition("?>\n")[2]
    record = json.dumps(figure.metadata, ensure_ascii=False, indent=1, sort_keys=True)
    return _PAGE.substitute(
        policy=escape(POLICY), style=STYLE, script=SCRIPT, picture=picture,
        version=escape(str(figure.metadata.get("version", ""))),
        digest=escape(str(figure.metadata.get("circuit", ""))[:16]),
        title=_text(figure.title), description=_text(figure.description), provenance=_text(record),
    )  # fmt: skip


def _text(text: str) -> str:
    return escape(legal_xml(text))


class Html:
    """A web page."""

    suffix = ".html"
    title = "HTML page (pan, zoom, tooltips)"
    can_read = False
    can_write = True
    draws = True

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write the document's figure; see `exchange.format.FileFormat`."""
        assert document.figure is not None, "HTML is written from a figure"
        text = html_text(document.figure, transparent=options.transparent)
        save_bytes(path, text.encode("utf-8"))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: a page holds no graph."""
        raise UnreadableGraph(f"{path.name} is a page and cannot be read as a graph.")
