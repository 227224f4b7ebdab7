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
    if anatomy.parallel_blocks and card.write_site is Site.RESID_MID:
        raise DictionaryMismatch(
            f"{card.name} explains the stream between attention and MLP, but in {name} both read "
            "the same stream and nothing lies between.",
            kept="Nothing has been changed.",
            hint="Choose dictionaries of the stream before or after a layer.",
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
    """Return a dictionary with the sites its hook names mean in this model.

    TransformerLens shows `ln2.hook_normalized` before the gain of an RMSNorm, but after the gain
    and bias of a LayerNorm, where it is the MLP's input. `mlp.hook_out` is before the norm that
    follows the MLP; where none follows, it is `hook_mlp_out`.
    """
    card = dictionary.card
    same = {} if anatomy.norm == "rms" else {Site.LN2_NORMALIZED: Site.MLP_IN}
    if not anatomy.norms_outputs:
        same |= {site: site.writes for site in (Site.ATTN_WRITE, Site.MLP_WRITE)}
    read, write = (same.get(site, site) for site in (card.read_site, card.write_site))
    if (read, write) == (card.read_site, card.write_site):
        return dictionary
    return dictionary.described(replace(card, read_site=read, write_site=write))


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
