"""Decide whether a dictionary fits a model: by shapes, sites and layers; a name only remarks."""

from __future__ import annotations

from dataclasses import replace

from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryMismatch
from circuitscope.dictionaries.dictionary import Dictionary


def check_fit(card: DictionaryCard, anatomy: ModelAnatomy) -> None:
    """Refuse a dictionary that this model cannot have.

    Raises:
        DictionaryMismatch: Its vectors or layers are not the model's; both numbers are named.
    """
    name = anatomy.name or anatomy.architecture
    for site, size in ((card.read_site, card.d_in), (card.write_site, card.d_out)):
        wanted = site_width(site, anatomy)
        if size != wanted:
            what = "d_model" if wanted == anatomy.d_model else f"{site.text} vectors of width"
            raise DictionaryMismatch(
                f"{card.name} holds a dictionary for {what} {size}, but {name} has {wanted}.",
                kept="Nothing has been changed.",
                hint=f"Choose a dictionary trained on {name}.",
            )
    missing = [layer for layer in card.layers if not 0 <= layer < anatomy.n_layers]
    if missing:
        raise DictionaryMismatch(
            f"{card.name} is a dictionary for layer {missing[0]}, but {name} has only layers 0 to "
            f"{anatomy.n_layers - 1}.",
            kept="Nothing has been changed.",
            hint=f"Choose a dictionary trained on {name}.",
        )


def as_read(dictionary: Dictionary, anatomy: ModelAnatomy) -> Dictionary:
    """Return a dictionary with the site its hook name means in this model.

    TransformerLens shows `ln2.hook_normalized` before the gain of an RMSNorm, but after the gain
    and bias of a LayerNorm, where it is the MLP's input.
    """
    card = dictionary.card
    if anatomy.norm == "rms" or card.read_site is not Site.LN2_NORMALIZED:
        return dictionary
    return dictionary.described(replace(card, read_site=Site.MLP_IN))


def site_width(site: Site, anatomy: ModelAnatomy) -> int:
    """Return the length of the vectors at a site."""
    if site in (Site.HEAD_Z, Site.HEAD_Q):
        return anatomy.n_heads * anatomy.d_head
    if site in (Site.HEAD_K, Site.HEAD_V):
        return anatomy.n_kv_heads * anatomy.d_head
    return anatomy.d_mlp if site is Site.MLP_HIDDEN else anatomy.d_model


def name_remark(card: DictionaryCard, anatomy: ModelAnatomy, variance: float) -> str:
    """Return a sentence where a dictionary names another model than the one in use, else "".

    Args:
        card: The dictionary.
        anatomy: The model in use.
        variance: Share of variance it explains in this run.
    """
    trained, used = (_plain(name) for name in (card.model_name, anatomy.name))
    if not trained or not used or trained == used:
        return ""
    return (
        f"{card.name} was trained on {card.model_name} and is used on {anatomy.name}, explained "
        f"variance here {variance:.2f}."
    )


def _plain(name: str) -> str:
    return name.rstrip("/").replace("\\", "/").rpartition("/")[2].lower()
