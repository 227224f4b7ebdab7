"""A dictionary described without its weights, so that files and windows can name it."""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from circuitscope.core.anatomy import Site

_LENGTH_BYTES = 8
_DIGESTED_BYTES = 65_536


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
        layers: Layers it reads; one, but for cross-layer transcoders.
        activation: "relu", "jumprelu", "gated", "topk", or "signed_topk", which keeps the k
            largest even if negative.
        k: Features kept per position for TopK, else None.
        decoder_bias_subtracted: True where the encoder reads x - b_dec.
        input_norm: What is done to its input first: "none"; "centred", the mean over the
            vector's entries taken off; "layer_norm" or "constant_norm_rescale", which divide
            every position by a number of its own; "expected_average_only_in", a scale that is
            not in its files and left out.
        skip: True where its input also passes straight to its output.
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
    def keeps_negative(self) -> bool:
        """Say whether activations may be negative.

        The k largest whatever their sign, or, of circuit-tracer's files, what exceeds a threshold
        below zero.
        """
        signed_jump = (self.format, self.activation) == ("circuit_tracer", "jumprelu")
        return signed_jump or self.activation == "signed_topk"

    @property
    def scales_input(self) -> bool:
        """Say whether every position is divided by a number of its own before encoding."""
        return self.input_norm in ("layer_norm", "constant_norm_rescale")

    @property
    def restores_mean(self) -> bool:
        """Say whether the mean taken off its input is put back on its output."""
        return self.input_norm in ("centred", "layer_norm") and not self.is_transcoder

    @property
    def is_transcoder(self) -> bool:
        """Say whether it reads one site and writes another."""
        return self.read_site is not self.write_site

    @property
    def feature_site(self) -> Site:
        """Return the site in its features' keys; transcoders never share one with SAEs."""
        if self.is_transcoder and self.write_site.writes is Site.MLP_OUT:
            return Site.MLP_TRANSCODER
        return self.write_site.writes

    def reading(self, site: Site) -> "DictionaryCard":
        """Return the card of the same dictionary read elsewhere; an autoencoder writes there too.

        Args:
            site: Where it reads.
        """
        write = self.write_site if self.is_transcoder else site
        return replace(self, read_site=site, write_site=write)

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


def header_digest(config: Path, *weights: Path, part: str = "") -> str:
    """Return sha256 over a configuration and the header and size of its weights.

    Args:
        config: The file of settings.
        weights: Files of weights.
        part: Tells apart several dictionaries of the same files.
    """
    total = hashlib.sha256(config.read_bytes())
    for path in weights:
        with path.open("rb") as file:
            if path.suffix == ".safetensors":
                start = file.read(_LENGTH_BYTES)
                total.update(start + file.read(int.from_bytes(start, "little")))
            else:
                total.update(file.read(_DIGESTED_BYTES))
        total.update(str(path.stat().st_size).encode())
    total.update(part.encode())
    return total.hexdigest()
