"""The page around a figure in an HTML file: its style, and the script that pans, zooms and tells.

Nothing is fetched: the page's own policy forbids it, and the font lies in the picture.
"""

from typing import Final

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "font-src data:; img-src data:"
)

STYLE: Final = """
html,body{margin:0;height:100%;background:#F6F5F2;color:#1F2430;
font:14px/1.5 Inter,'Helvetica Neue',Helvetica,Arial,sans-serif}
body{display:flex;flex-direction:column}
#stage{flex:1;min-height:0;overflow:hidden;cursor:grab;touch-action:none;outline:none}
#stage:focus-visible{box-shadow:inset 0 0 0 2px #2B6CB0}
#stage.moving{cursor:grabbing}
#stage svg{width:100%;height:100%;display:block}
#bar{display:flex;gap:6px;align-items:center;padding:8px 14px;border-top:1px solid #E4E3DF;
background:#FFF}
#bar button{font:inherit;border:1px solid #C9CDD6;border-radius:6px;background:#FFF;
padding:2px 10px}
#bar button:hover{background:#F2F4F8}
#bar span{margin-left:auto;color:#667085;font-size:12px}
#tip{position:fixed;display:none;max-width:30em;padding:6px 10px;border-radius:6px;
background:#1F2430;color:#FFF;font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere;pointer-events:none}
details{padding:0 14px 8px;background:#FFF;font-size:12px;color:#667085;max-height:40vh;
overflow:auto}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
@media print{#bar,details{display:none}}
"""

SCRIPT: Final = """
"use strict";
(function () {
  const stage = document.getElementById("stage"), svg = stage.querySelector("svg");
  const tip = document.getElementById("tip");
  const whole = svg.getAttribute("viewBox").split(" ").map(Number);
  let box = whole.slice();
  svg.removeAttribute("width"); svg.removeAttribute("height");
  function show() { svg.setAttribute("viewBox", box.join(" ")); }
  function scale() {
    const room = svg.getBoundingClientRect();
    return Math.max(box[2] / room.width, box[3] / room.height);
  }
  function at(event) {
    const room = svg.getBoundingClientRect(), s = scale();
    return [box[0] + box[2] / 2 + (event.clientX - room.left - room.width / 2) * s,
            box[1] + box[3] / 2 + (event.clientY - room.top - room.height / 2) * s];
  }
  function zoom(factor, point) {
    const width = Math.min(Math.max(box[2] * factor, whole[2] / 200), whole[2] * 8);
    const real = width / box[2];
    const p = point || [box[0] + box[2] / 2, box[1] + box[3] / 2];
    box = [p[0] + (box[0] - p[0]) * real, p[1] + (box[1] - p[1]) * real, width, box[3] * real];
    show();
  }
  function pan(dx, dy) { box[0] += dx; box[1] += dy; show(); }
  function fit() { box = whole.slice(); show(); }
  stage.addEventListener("wheel", function (event) {
    event.preventDefault();
    zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), at(event));
  }, { passive: false });
  let last = null;
  stage.addEventListener("pointerdown", function (event) {
    last = [event.clientX, event.clientY];
    stage.setPointerCapture(event.pointerId); stage.classList.add("moving");
  });
  stage.addEventListener("pointermove", function (event) {
    if (last) {
      const s = scale();
      pan((last[0] - event.clientX) * s, (last[1] - event.clientY) * s);
      last = [event.clientX, event.clientY]; tip.style.display = "none"; return;
    }
    tell(event);
  });
  function release() { last = null; stage.classList.remove("moving"); }
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", function () { tip.style.display = "none"; });
  stage.addEventListener("dblclick", fit);
  stage.addEventListener("keydown", function (event) {
    const step = box[2] / 12;
    const keys = { "+": [zoom, 0.8], "=": [zoom, 0.8], "-": [zoom, 1.25], "0": [fit],
      ArrowLeft: [pan, -step, 0], ArrowRight: [pan, step, 0], ArrowUp: [pan, 0, -step],
      ArrowDown: [pan, 0, step], Home: [fit] };
    const act = keys[event.key];
    if (act) { event.preventDefault(); act[0].apply(null, act.slice(1)); }
  });
  document.getElementById("in").addEventListener("click", function () { zoom(0.8); });
  document.getElementById("out").addEventListener("click", function () { zoom(1.25); });
  document.getElementById("fit").addEventListener("click", fit);
  // A title of the picture's own shows late and in the system's way; ours shows at once.
  const titles = new Map();
  svg.querySelectorAll("g > title").forEach(function (title) {
    titles.set(title.parentNode, title.textContent); title.remove();
  });
  titles.forEach(function (text, part) { part.setAttribute("aria-label", text); });
  function tell(event) {
    let part = event.target;
    while (part && part !== svg && !titles.has(part)) { part = part.parentNode; }
    if (!part || part === svg || !titles.has(part)) { tip.style.display = "none"; return; }
    tip.textContent = titles.get(part);
    tip.style.display = "block";
    const wide = tip.offsetWidth, high = tip.offsetHeight;
    tip.style.left = Math.max(0, Math.min(event.clientX + 14, innerWidth - wide - 8)) + "px";
    tip.style.top = Math.max(0, Math.min(event.clientY + 14, innerHeight - high - 8)) + "px";
  }
}());
"""
