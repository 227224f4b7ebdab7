"""Decide what each module's output is broken into: features, heads or neurons, or nothing.

Every attention and MLP output is explained exactly once. Where a dictionary fits, its features
and one error per position; elsewhere heads or neurons (`units="auto"`), or, where only features
are wanted, the whole output as one error. Dictionaries of the residual stream cut it: all paths
pass through their features and error. With these alone (`units="features"`) modules pass effects
on, frozen, and edges run from one cut to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.settings import MlpRule, TraceSettings
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.fit import as_read, check_fit
from circuitscope.models.drafting import known_architectures
from circuitscope.tracing.method import Refusal, cards_of
from circuitscope.tracing.sources import STREAM, stage_of

THROUGH = "attribution"
"""The method in which attention without dictionary passes effects on."""

TRANSCODER_READS = (Site.MLP_IN, Site.LN2_NORMALIZED, Site.RESID_MID)
"""Sites from which a transcoder of the MLP may read."""

_ORDER = (Site.RESID_PRE, Site.ATTN_OUT, Site.RESID_MID, Site.MLP_OUT, Site.RESID_POST)


def causal_refusal(anatomy: ModelAnatomy) -> Refusal | None:
    """Say why a model that sees both ways cannot be traced backwards; None for causal ones."""
    if anatomy.causal:
        return None
    return Refusal(
        f"{anatomy.name or anatomy.architecture} is no causal language model.",
        "Choose another method.",
    )


def operations_refusal(title: str, anatomy: ModelAnatomy) -> Refusal | None:
    """Say why a method cannot run a model's operations one by one; None where it can."""
    if anatomy.causal and anatomy.architecture in known_architectures():
        return None
    return Refusal(
        f"{title} does not know the operations of {anatomy.architecture}.",
        "Choose a causal language model of a class that it knows.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Say what explains each module's output.

    Attributes:
        attention: The dictionary of each layer's attention output, None where there is none.
        mlp: The dictionary of each layer's MLP output.
        whole: True where a module without dictionary stays one error node, not heads or neurons.
        remarks: What a reader must know about the choice.
        through: True where attention without dictionary passes effects on, its pattern frozen,
            instead of being broken into heads; edges then join MLP units over many layers.
        cross: The cross-layer transcoder whose layers `mlp` holds, None where there is none.
        left_out: First positions whose MLP outputs are no nodes, only summed as unexplained.
        constants: False where biases and positions are no nodes, only summed as unexplained.
        stream: Dictionaries of the residual stream, bottom to top. There the stream is their
            features and error; where only features are wanted, modules between them pass.
    """

    attention: tuple[Dictionary | None, ...]
    mlp: tuple[Dictionary | None, ...]
    whole: bool
    remarks: tuple[str, ...]
    through: bool = False
    cross: Dictionary | None = None
    left_out: int = 0
    constants: bool = True
    stream: tuple[Dictionary, ...] = ()

    @property
    def dictionaries(self) -> tuple[Dictionary, ...]:
        """Return the dictionaries used, from the bottom to the top of the stream; a CLT once."""
        if self.cross is not None:
            return (*(found for found in self.attention if found is not None), self.cross)
        places = (place for layer in range(len(self.mlp)) for place in self.places(layer))
        return tuple(found for _, found in places if found is not None)

    def places(self, layer: int) -> list[tuple[Site, Dictionary | None]]:
        """Return the places of a layer in the order of the stream, and what explains each."""
        cuts = {
            dictionary.card.write_site: dictionary
            for dictionary in self.stream
            if dictionary.card.layers[0] == layer
        }
        modules = {Site.ATTN_OUT: self.attention[layer], Site.MLP_OUT: self.mlp[layer]}
        return [(site, modules.get(site, cuts.get(site))) for site in _ORDER]

    def passes(self, site: Site, layer: int) -> bool:
        """Return whether a module, ATTN_OUT or MLP_OUT of a layer, lets effects pass, frozen."""
        if dict(self.places(layer))[site] is not None:
            return False
        return (self.through and site is Site.ATTN_OUT) or (self.whole and bool(self.stream))

    def at(self, site: Site, layer: int) -> Dictionary | None:
        """Return the dictionary whose features have a site in a layer, None where none has."""
        found = dict(self.places(layer)).get(site.writes)
        return found if found is not None and found.card.feature_site is site else None


def make_plan(
    anatomy: ModelAnatomy, dictionaries: Sequence[Dictionary], settings: TraceSettings
) -> Plan:
    """Choose a dictionary for every module that has one; weights of the others are not read.

    Raises:
        DictionaryMismatch: A dictionary, used or not, has other shapes or layers than the model.
    """
    settings = fitted(settings, cards_of(dictionaries))
    chosen, remarks = _choose(cards_of(dictionaries), settings)
    for card in cards_of(dictionaries):
        check_fit(card, anatomy)

    def at(site: Site) -> tuple[Dictionary | None, ...]:
        found: list[Dictionary | None] = []
        for layer in range(anatomy.n_layers):
            index = chosen.get((site, layer))
            whole = None if index is None else as_read(dictionaries[index], anatomy)
            found.append(None if whole is None else whole.layer(layer))
        return tuple(found)

    attention, mlp = at(Site.ATTN_OUT), at(Site.MLP_OUT)
    whole = settings.units == "features"
    through = settings.method == THROUGH
    cut = sorted((stage_of(*place), index) for place, index in chosen.items() if place[0] in STREAM)
    stream = tuple(dictionaries[index] for _, index in cut)
    crossing = {index for index in chosen.values() if len(cards_of(dictionaries)[index].layers) > 1}
    cross = as_read(dictionaries[crossing.pop()], anatomy) if crossing else None
    plan = Plan(attention, mlp, whole, (), through, cross, stream=stream)
    remarks += _gaps(plan) if chosen else []
    plan = replace(plan, remarks=tuple(remarks))
    if settings.conventions == "circuit-tracer":
        return replace(plan, left_out=_n_left_out(anatomy), constants=False)
    return plan


def fitted(settings: TraceSettings, cards: Sequence[DictionaryCard]) -> TraceSettings:
    """Return settings with what the method and the dictionaries at hand decide."""
    if settings.method != THROUGH:
        return settings
    has_transcoder = any(
        card.write_site.writes is Site.MLP_OUT and card.read_site in TRANSCODER_READS
        for card in cards
    )
    rule: MlpRule = "transcoder" if has_transcoder else settings.mlp
    strict = settings.conventions == "circuit-tracer"
    return replace(settings, mlp=rule, units="features" if strict else settings.units)


def _n_left_out(anatomy: ModelAnatomy) -> int:
    """Return the first positions that circuit-tracer drops: 4 for Gemma 3's chat models, else 1."""
    name = anatomy.name.lower()
    return 4 if "gemma-3" in name and name.endswith("-it") else 1


def used_cards(
    cards: Sequence[DictionaryCard], settings: TraceSettings
) -> tuple[DictionaryCard, ...]:
    """Return the dictionaries that a trace would use; their weights are not read."""
    chosen, _ = _choose(cards, fitted(settings, cards))
    return tuple(cards[index] for index in dict.fromkeys(chosen.values()))


def refusal(cards: Sequence[DictionaryCard], settings: TraceSettings) -> Refusal | None:
    """Say why these dictionaries cannot be traced as asked; None where they can."""
    settings = fitted(settings, cards)
    chosen, remarks = _choose(cards, settings)
    if settings.units == "auto" and cards and not chosen:
        return Refusal(
            " ".join(["None of the dictionaries can be used.", *remarks]),
            "Choose another MLP rule or other dictionaries, or trace neurons and heads.",
        )
    if settings.units == "features" and not chosen:
        return Refusal(
            "Only features were asked for, but no dictionary reads or writes a place that can be "
            "traced this way.",
            'Add dictionaries of attention or MLP outputs, or choose units="neurons".',
        )
    has_transcoder = any(site is Site.MLP_OUT for site, _ in chosen)
    if settings.mlp == "transcoder" and settings.units != "neurons" and not has_transcoder:
        return Refusal(
            "The MLPs are to be read through transcoders, but none was given.",
            'Add transcoders, or choose mlp="secant".',
        )
    return None


def _choose(
    cards: Sequence[DictionaryCard], settings: TraceSettings
) -> tuple[dict[tuple[Site, int], int], list[str]]:
    """Return which card explains which module, and remarks on those left out."""
    chosen: dict[tuple[Site, int], int] = {}
    unused: dict[str, list[str]] = {}
    for index, card in enumerate(cards):
        reason = _unfit(card, settings)
        places = [(card.write_site.writes, layer) for layer in card.layers]
        taken = [chosen[place] for place in places for place in _same(place) if place in chosen]
        if not reason and taken:
            reason = f"{cards[taken[0]].name} already explains that place"
        if reason:
            unused.setdefault(reason, []).append(card.name)
        else:
            chosen |= dict.fromkeys(places, index)
    remarks = [f"Not used: {', '.join(names)} ({why})." for why, names in unused.items()]
    return chosen, remarks


def _same(place: tuple[Site, int]) -> tuple[tuple[Site, int], ...]:
    """Return the names of a place: the stream before a layer is that after the one below it."""
    site, layer = place
    if site is Site.RESID_PRE and layer:
        return place, (Site.RESID_POST, layer - 1)
    if site is Site.RESID_POST:
        return place, (Site.RESID_PRE, layer + 1)
    return (place,)


def _unfit(card: DictionaryCard, settings: TraceSettings) -> str:
    """Return why a dictionary is not used under these settings, "" where it is."""
    if settings.units == "neurons":
        return "units are neurons and heads"
    if len(card.layers) != 1 and settings.method != THROUGH:
        return "it spans several layers"
    if card.scales_input and len(card.layers) != 1:
        return "it normalises its input position by position"
    site = card.write_site.writes
    if site is Site.ATTN_OUT and settings.conventions == "circuit-tracer":
        return "circuit-tracer's graphs have no attention features"
    if site is Site.MLP_OUT and card.read_site in TRANSCODER_READS:
        return "" if settings.mlp == "transcoder" else "MLPs are read by the secant rule"
    sites = _ORDER if settings.method != THROUGH else (Site.ATTN_OUT, Site.MLP_OUT)
    if card.is_transcoder or site not in sites:
        return f"this method cannot trace {card.read_site.text} to {card.write_site.text}"
    if site is Site.MLP_OUT and settings.mlp == "transcoder":
        return "MLPs are read through transcoders"
    return ""


def _gaps(plan: Plan) -> list[str]:
    remarks = []
    for name, site, found, instead in (
        ("attention", Site.ATTN_OUT, plan.attention, "heads"),
        ("MLP", Site.MLP_OUT, plan.mlp, "neurons"),
    ):
        if plan.through and site is Site.ATTN_OUT:
            continue  # attention that passes effects on is no gap
        missing = [str(layer) for layer, item in enumerate(found) if item is None]
        if missing:
            word = "one error node per position" if plan.whole else instead
            passes = any(plan.passes(site, int(layer)) for layer in missing)
            word = "effects pass it, frozen" if passes else word
            remarks.append(f"No dictionary for {name} in layer {', '.join(missing)}: {word}.")
    return remarks
