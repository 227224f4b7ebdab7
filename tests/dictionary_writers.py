"""Write tiny random dictionaries in every public format but SAELens', as their makers do."""

from pathlib import Path

import torch
from safetensors.torch import save_file


def noise(seed: int, *shape: int, size: float = 1.0) -> torch.Tensor:
    """Return seeded normal numbers."""
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def write_circuit_tracer(folder: Path, n_layers: int = 1, d: int = 16, n: int = 24) -> Path:
    """Write a JumpReLU transcoder set."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "model_name: tiny\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
        "feature_output_hook: hook_mlp_out\n"
    )
    for layer in range(n_layers):
        tensors = {
            "W_enc": noise(layer, n, d, size=0.3), "b_enc": noise(layer + 1, n, size=0.3),
            "W_dec": noise(layer + 2, n, d, size=0.3), "b_dec": noise(layer + 3, d, size=0.3),
            "activation_function.threshold": noise(layer + 4, n).abs() * 0.2,
        }  # fmt: skip
        save_file(tensors, folder / f"layer_{layer}.safetensors")
    return folder
