"""Predictions of total effects beside measured ones, over all nodes of 20 circuits.

Question: which prediction ranks the nodes of a dictionary circuit as switching them off does?

1. Trace 20 circuits on the bundled models: 8 of capitals and 4 of indirect objects on atlas, 8
   next moves on Othello; each explains one logit less another, with 256 features or more nodes.
2. Truth: switch every token, feature and error node off in the plain model, one run each, all else
   recomputed; the change of the logit difference is its total effect.
3. Predict the same change for the same nodes:

       circuit        by the circuit's own edges over all paths, attention and gates frozen
       live           first hop exact, the rest to first order (`tracing.first_hop`)
       ap             attribution patching: the gradient at the prompt, times what is switched off
       eap_ig         gradients averaged over five inputs from another prompt's to this one (Hanna
                      et al. 2024), times what is switched off
       ig_activations gradients averaged as the whole site is scaled from nothing to what it is

4. Spearman's and Pearson's correlation over the nodes of each circuit.

The way to predict was chosen on other prompts; these were run once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import circuitscope as cs
from circuitscope.core.agreement import spearman
from circuitscope.core.anatomy import Site
from circuitscope.core.keys import NodeKind
from circuitscope.core.progress import silent
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import atlas_patching, method_pairs, othello
from circuitscope.models.capture import capture
from circuitscope.models.hooks import Hooks
from circuitscope.models.places import Place
from circuitscope.tracing.first_hop import gradients, predict_live
from circuitscope.tracing.measurement import Switches, total_effects
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.reopen import settings_of
from circuitscope.tracing.verify import predict_total

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

log = logging.getLogger(__name__)
Array = NDArray[np.float64]
Asked = tuple[str, str, cs.LogitDifference]
STEPS = 5
MAX_NODES = 256
WAYS = {
    "live": "first hop exact, the rest to first order",
    "circuit": "the circuit's edges over all paths, attention and gates frozen",
    "ap": "attribution patching: the gradient at the prompt",
    "eap_ig": "EAP-IG: gradients over five inputs from the other prompt's",
    "ig_activations": "EAP-IG by activations: gradients over five sizes of the whole site",
}
_MOVES = 18


def atlas_prompts(n_capitals: int = 8, n_objects: int = 4, seed: int = 0) -> list[Asked]:
    """Return prompts of the atlas model, each with another of as many words and a metric."""
    found = method_pairs.pairs(n_capitals)
    for rows in list(atlas_patching.draw(2, seed).values())[:n_objects]:
        one, other = rows[0], rows[1]
        metric = cs.LogitDifference(one.indirect, one.subject)
        found.append((one.prompt, other.prompt, metric))
    return found


def othello_prompts(model: LoadedModel, n: int = 8, seed: int = 1) -> list[Asked]:
    """Return openings of random games, each with another; the likeliest move of each is asked."""
    games = [" ".join(game.split()[:_MOVES]) for game in othello.play(seed, 2 * n).prompts()]
    found = []
    for one, other in zip(games[:n], games[n:], strict=True):
        own, its = (model.run(prompt).logits[-1] for prompt in (one, other))
        best = int(own.argmax())
        found.append((one, other, cs.LogitDifference(best, int((its - own).argmax()))))
    return found


class Subject:
    """A circuit, the nodes that are switched off, and what each of them writes."""

    def __init__(self, model: LoadedModel, dictionaries: Any, asked: Asked) -> None:
        prompt, other, metric = asked
        circuit = cs.trace(model, prompt, "direct", dictionaries, metric, MAX_NODES)
        settings = settings_of(circuit, model)
        plan = make_plan(model.anatomy, dictionaries, settings)
        cache = capture(model, circuit.token_ids)
        self.model, self.circuit = model, circuit
        self.switches = Switches(model, circuit, plan, cache, settings)
        kinds = NodeKind.TOKEN, NodeKind.FEATURE, NodeKind.ERROR
        self.nodes = np.flatnonzero(circuit.nodes.of_kind(*kinds))
        self.root = int(circuit.roots[0])
        self.other = capture(model, model.prompt(other).token_ids)
        layers = range(model.anatomy.n_layers)
        sites = (Site.ATTN_WRITE, Site.MLP_WRITE)
        self._places = [(Site.EMBED, 0), *((site, layer) for layer in layers for site in sites)]
        self._off = [self._vector(int(node)) for node in self.nodes]

    def truth(self) -> Array:
        """Return the measured change of the root for each node."""
        return total_effects(self.switches, self.nodes, self.circuit.roots, silent())[:, 0]

    def predictions(self) -> dict[str, Callable[[], Array]]:
        """Return each way to predict these changes."""
        return {
            "live": lambda: predict_live(self.switches, self.nodes, self.root),
            "circuit": lambda: predict_total(self.circuit, self.nodes)[:, 0],
            "ap": lambda: self._first_order(self._gradients()),
            "eap_ig": self._by_inputs,
            "ig_activations": self._by_activations,
        }

    def _vector(self, node: int) -> tuple[Place, int, Tensor]:
        """Return where a node writes, at which position, and what it loses."""
        key, change = self.circuit.nodes.key(node), self.switches.off(node)
        if key.kind is NodeKind.TOKEN:
            embed = self.switches.cache.embed
            return (Site.EMBED, 0), key.position, -embed[key.position]
        site = {Site.ATTN_OUT: Site.ATTN_WRITE, Site.MLP_OUT: Site.MLP_WRITE}
        place = Site.parse(change.site)
        return (site.get(place, place), key.layer), key.position, torch.as_tensor(change.value)

    def _gradients(self, edit: Callable[[Hooks], None] | None = None) -> dict[Place, Tensor]:
        place, see = self.switches.reads(self.circuit.nodes.key(self.root))

        def read(seen: dict[Place, Tensor]) -> Tensor:
            return see(seen[place]).sum()

        return gradients(self.model, self.circuit.token_ids, self._places, read, edit)

    def _first_order(self, found: dict[Place, Tensor]) -> Array:
        return np.array([float(vector @ found[place][p]) for place, p, vector in self._off])

    def _mean(self, edits: Iterator[Callable[[Hooks], None]]) -> dict[Place, Tensor]:
        runs = [self._gradients(edit) for edit in edits]
        return {place: torch.stack([run[place] for run in runs]).mean(0) for place in self._places}

    def _by_inputs(self) -> Array:
        start, end = self.other.embed, self.switches.cache.embed

        def edit(share: float) -> Callable[[Hooks], None]:
            between = start + share * (end - start)
            return lambda hooks: hooks.edit_site(Site.EMBED, 0, lambda x: between.expand_as(x))

        return self._first_order(self._mean(edit((k + 1) / STEPS) for k in range(STEPS)))

    def _by_activations(self) -> Array:
        def edit(place: Place, share: float) -> Callable[[Hooks], None]:
            return lambda hooks: hooks.edit_site(*place, lambda x: x * share)

        found = {
            place: self._mean(edit(place, (k + 0.5) / STEPS) for k in range(STEPS))[place]
            for place in self._places
        }
        return self._first_order(found)


def compare(model: LoadedModel, dictionaries: Any, asked: Asked) -> dict[str, list[float]]:
    """Return for each way Spearman's and Pearson's correlation, seconds, and nodes of a circuit."""
    with torch.no_grad():
        subject = Subject(model, dictionaries, asked)
        start = time.process_time()
        truth = subject.truth()
        measured = time.process_time() - start
        found = {"measured": [1.0, 1.0, measured, float(len(truth))]}
        for name, predict in subject.predictions().items():
            start = time.process_time()
            values = predict()
            seconds = time.process_time() - start
            pearson = float(np.corrcoef(values, truth)[0, 1])
            found[name] = [spearman(values, truth), pearson, seconds, float(len(truth))]
    return found


def on_bundled() -> list[dict[str, list[float]]]:
    """Return the comparison for each of the 20 circuits."""
    found = []
    for project in ("atlas", "othello"):
        folder = shipped_path("projects", project)
        model = cs.load_model(folder / "model", device="cpu")
        dictionaries = cs.load_dictionaries(folder / "dictionaries")
        asked = atlas_prompts() if project == "atlas" else othello_prompts(model)
        for one in asked:
            found.append(compare(model, dictionaries, one))
            ranks = {name: round(row[0], 3) for name, row in found[-1].items()}
            log.info("circuit %d: %s", len(found), ranks)
    return found


def section(rows: list[dict[str, list[float]]]) -> str:
    """Return the section of the page in the manual."""
    n_nodes = int(sum(row["measured"][3] for row in rows))
    lines = [
        "## Predicted and measured total effects", "",
        f"{len(rows)} circuits traced by `direct` on the bundled models (capitals and indirect "
        f"objects on atlas, moves on Othello), all {n_nodes} token, feature and error nodes. Truth "
        "is the change of the logit difference where the node alone is switched off and everything "
        "else is recomputed, one run each "
        f"({np.mean([row['measured'][2] for row in rows]):.1f} s a circuit). Every prediction is "
        "for the same change of the same nodes. Means over circuits; *better* counts the circuits "
        "whose ranks follow the truth more closely than those of `eap_ig`.", "",
        "| Prediction | How | Spearman | Lowest | Pearson | Better | Seconds |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, words in WAYS.items():
        values = np.array([row[name] for row in rows])
        better = sum(row[name][0] > row["eap_ig"][0] for row in rows)
        said = "" if name == "eap_ig" else f"{better} of {len(rows)}"
        mean = values.mean(0)
        lines.append(
            f"| `{name}` | {words} | {mean[0]:.3f} | {values[:, 0].min():.3f} | {mean[1]:.3f} | "
            f"{said} | {mean[2]:.2f} |"
        )
    best = max(WAYS, key=lambda name: float(np.mean([row[name][1] for row in rows])))
    lines += [
        "",
        "A circuit's own edges rank its nodes worse than gradients do: attention patterns and "
        "norms are held in it, and most nodes' small effects pass through what is held. Pearson's "
        "correlation is decided by a few words with large effects, for which no first order "
        f"holds; there `{best}` is best. "
        '`cs.verify(model, circuit, effect="total", predict="live")` gives the first row.',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
