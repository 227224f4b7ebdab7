"""A measured circuit as words, plots and one HTML file that fetches nothing."""

import json
from html import escape
from string import Template
from typing import Any, Final

from circuitscope.core.finding import Curves
from circuitscope.exchange.page import POLICY
from circuitscope.exchange.plots import PAPER, Look, bar_plot, dot_plot, line_plot

_PAGE: Final = Template(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="CircuitScope $version">
<title>$title</title>
<style>
body{margin:0 auto;max-width:72em;padding:2em 1.5em;background:#F6F5F2;color:#1F2430;
font:15px/1.55 Inter,'Helvetica Neue',Helvetica,Arial,sans-serif}
h1{font-size:1.5em;margin:0 0 .2em}h2{font-size:1.1em;margin:1.8em 0 .5em}
p{max-width:48em}.quiet,footer{color:#667085}
table{border-collapse:collapse;background:#FFF}td,th{padding:.35em .9em;text-align:left;
border-bottom:1px solid #E4E3DF;vertical-align:top}td.n{text-align:right;
font-variant-numeric:tabular-nums;white-space:nowrap}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(24em,1fr));gap:1em}
figure{margin:0;background:#FFF;padding:.6em;border:1px solid #E4E3DF;border-radius:8px}
figcaption{color:#667085;font-size:13px;padding:.2em .4em}svg{width:100%;height:auto;display:block}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px}
</style></head><body>
<h1>$title</h1><p class="quiet">$about</p>$remarks
<h2>Numbers</h2><table>$numbers</table>
<h2>Plots</h2><div class="plots">$plots</div>
<h2>Where this comes from</h2><details><summary>Provenance</summary><pre>$provenance</pre></details>
<footer><p>CircuitScope $version</p></footer>
</body></html>
"""
)


def numbers_of(found: Curves) -> list[tuple[str, str, str]]:
    """Return what was measured: name, number as text, and what it means."""
    scores, things = found.provenance.scores, found.x_name
    said = (
        ("faithfulness", "Faithfulness",
         "of the circuit alone: 1 is what the whole model does, 0 what is left with everything "
         "replaced; not clipped"),
        ("without", "Without the circuit", "the same of everything else: near 0 where the circuit "
         "is complete"),
        ("completeness_gap", "Completeness gap",
         "largest difference between circuit and model with random parts taken out of both"),
        ("least_minimality", f"Least minimality of the {things}",
         "the smallest change that taking one of them out makes; 0: it does nothing"),
        ("area", "Area under the curve", f"over shares of the circuit's {things}"),
        ("distance", "Mean distance from 1", "likewise"),
        ("CPR", "CPR", "area under the curve over shares of all edges of the model, as in MIB"),
        ("CMD", "CMD", "mean distance from 1 over them, as in MIB"),
        ("p_equivalence", "p, equivalence",
         "below 0.05: circuit and model do not do better equally often"),
        ("p_independence", "p, independence",
         "below 0.05: what is left without the circuit still follows the model"),
        ("p_sufficiency", "p, sufficiency",
         "at most 0.05: closer to the model than random circuits of its size"),
        ("share_minimal", "Share beyond random",
         "of its edges, that do more than edges at random do that are added"),
        ("size", f"Number of {things}", "in the circuit"),
        ("n_prompts", "Prompts", "measured on"),
    )  # fmt: skip
    return [
        (name, _number(scores[key], whole=key in ("size", "n_prompts")), words)
        for key, name, words in said
        if key in scores
    ]


def plots_of(found: Curves, look: Look = PAPER) -> list[tuple[str, str]]:
    """Return plots as SVG, each with its caption."""
    measured: dict[str, Any] = found.provenance.settings.get("measured") or {}
    things = found.x_name
    out = [(
        line_plot(found.x, list(found.curves.items()), (things, "F"), look),
        f"F of the strongest {things} alone, and of the model without them.",
    )]  # fmt: skip
    if pairs := measured.get("completeness"):
        out.append((
            dot_plot(pairs, ("F(circuit without K)", "F(model without K)"), look),
            "Completeness: random parts K taken out of both; on the line they do the same.",
        ))  # fmt: skip
    if bars := measured.get("minimality"):
        out.append((
            bar_plot(bars, (f"{things}, strongest first", "change of F"), look),
            f"Minimality: the largest change that taking one of the {things} out makes.",
        ))  # fmt: skip
    return out


def measurement_html(found: Curves, name: str) -> str:
    """Return the report of a measured circuit as one page."""
    record = found.provenance.without_folders()
    settings = record.settings
    about = (
        f"{found.x_name} of a circuit by {settings.get('method', record.method)}; the rest is "
        f"replaced by {settings.get('ablation', '')}; model {record.model.get('name', '')}"
    )
    rows = "".join(
        f'<tr><th>{escape(title)}</th><td class="n">{value}</td>'
        f'<td class="quiet">{escape(words)}</td></tr>'
        for title, value, words in numbers_of(found)
    )
    plots = "".join(
        f"<figure>{picture}<figcaption>{escape(words)}</figcaption></figure>"
        for picture, words in plots_of(found)
    )
    return _PAGE.substitute(
        policy=escape(POLICY), version=escape(record.app_version), title=escape(name),
        about=escape(about), numbers=rows, plots=plots,
        remarks="".join(f"<p>{escape(remark)}</p>" for remark in record.remarks),
        provenance=escape(json.dumps(json.loads(record.to_json()), indent=1, ensure_ascii=False)),
    )  # fmt: skip


def _number(value: float, *, whole: bool) -> str:
    return f"{value:.{0 if whole else 3}f}".replace("-", "−")
