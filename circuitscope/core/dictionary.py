"""A dictionary described without its weights, so that files and windows can name it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from circuitscope.core.anatomy import Site


@dataclass(frozen=True, slots=True)
class DictionaryCard:
    """Describe one sparse dictionary.

    Attributes:
        name: Unique within its set, such as "mlp_out_2".
        format: Name of the reader, such as "sae_lens".
        path: Folder or file it was read from.
        digest: sha256 over its files' headers and configuration.
        read_site: Where its encoder reads.
        write_site: Where its decoder writes; equal to read_site for an autoencoder.
        layers: Layers it covers; one for single-site dictionaries.
        k: Features kept per position for TopK, else None.
        decoder_bias_subtracted: True where the encoder reads x - b_dec.
        metrics: What its maker measured (mean L0, explained variance, ...).
    """

    name: str
    format: str
    path: str
    digest: str
    read_site: Site
    write_site: Site
    layers: tuple[int, ...]
    d_in: int
    d_out: int
    n_features: int
    activation: str = "relu"
    k: int | None = None
    decoder_bias_subtracted: bool = False
    input_norm: str = "none"
    skip: bool = False
    model_name: str = ""
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def is_transcoder(self) -> bool:
        """Say whether it reads one site and writes another."""
        return self.read_site is not self.write_site

    @property
    def feature_site(self) -> Site:
        """Return the site in its features' keys; transcoders never share one with SAEs."""
        if self.is_transcoder and self.write_site is Site.MLP_OUT:
            return Site.MLP_TRANSCODER
        return self.write_site

    def as_json(self) -> dict[str, Any]:
        """Return a plain dictionary for files and pipes."""
        data = asdict(self)
        data["read_site"] = self.read_site.text
        data["write_site"] = self.write_site.text
        data["layers"] = list(self.layers)
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> "DictionaryCard":
        """Rebuild from `as_json`; unknown keys of newer versions are dropped."""
        known = DictionaryCard.__dataclass_fields__
        fields = {key: value for key, value in data.items() if key in known}
        fields["read_site"] = Site.parse(fields["read_site"])
        fields["write_site"] = Site.parse(fields["write_site"])
        fields["layers"] = tuple(fields["layers"])
        return DictionaryCard(**fields)
