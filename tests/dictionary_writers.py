"""Write tiny random dictionaries in every public format but SAELens', as their makers do."""

import json
from pathlib import Path

import numpy as np
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


def write_gemma_scope(root: Path, d: int = 16, n: int = 24, kind: str = "mlp") -> Path:
    """Write one npz of the first Gemma Scope under the folders of its repository."""
    folder = root / f"gemma-scope-2b-pt-{kind}" / "layer_1" / "width_16k" / "average_l0_7"
    folder.mkdir(parents=True)
    tensors = jump_relu_tensors(d, n)
    np.savez(folder / "params.npz", **{name: t.numpy() for name, t in tensors.items()})
    return folder


def jump_relu_tensors(d: int, n: int) -> dict[str, torch.Tensor]:
    """Return JumpReLU weights in SAELens' orientation."""
    return {
        "W_enc": noise(1, d, n, size=0.3), "b_enc": noise(2, n, size=0.3),
        "W_dec": noise(3, n, d, size=0.3), "b_dec": noise(4, d, size=0.3),
        "threshold": noise(5, n).abs() * 0.2,
    }  # fmt: skip


def write_gemma_scope_2(root: Path, d: int = 16, n: int = 24, **settings: object) -> Path:
    """Write one transcoder of Gemma Scope 2 with an affine skip."""
    folder = root / "layer_1_width_16k_l0_small_affine"
    folder.mkdir(parents=True)
    config = {
        "architecture": "jump_relu", "model_name": "google/tiny", "l0": 20, "width": n,
        "hf_hook_point_in": "model.layers.1.pre_feedforward_layernorm.output",
        "hf_hook_point_out": "model.layers.1.post_feedforward_layernorm.output",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | settings))
    tensors = jump_relu_tensors(d, n)
    lower = {name.lower(): t for name, t in tensors.items()}
    lower["affine_skip_connection"] = noise(6, d, d, size=0.3)
    save_file(lower, folder / "params.safetensors")
    return folder


def write_llamascopium(folder: Path, d: int = 16, n: int = 32, **settings: object) -> Path:
    """Write a JumpReLU transcoder, its norms not yet folded."""
    folder.mkdir(parents=True)
    config = {
        "sae_type": "sae", "d_model": d, "expansion_factor": n / d, "act_fn": "jumprelu",
        "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": False,
        "use_decoder_bias": True, "hook_point_in": "blocks.1.mlp.hook_in",
        "hook_point_out": "blocks.1.hook_mlp_out", "top_k": 6,
    }  # fmt: skip
    config |= settings
    (folder / "config.json").write_text(json.dumps(config))
    t = jump_relu_tensors(d, n)
    tensors = {
        "W_E": t["W_enc"], "b_E": t["b_enc"], "W_D": t["W_dec"], "b_D": t["b_dec"],
        "activation_function.log_jumprelu_threshold": t["threshold"].log(),
        "dataset_average_activation_norm.blocks.1.mlp.hook_in": torch.tensor(2.0),
        "dataset_average_activation_norm.blocks.1.hook_mlp_out": torch.tensor(16.0),
    }  # fmt: skip
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def write_llamascopium_clt(folder: Path, layers: int = 3, d: int = 16, n: int = 32) -> Path:
    """Write a TopK cross-layer transcoder, compared by its decoders' norms."""
    folder.mkdir(parents=True)
    hooks = {
        "hook_points_in": [f"blocks.{layer}.hook_resid_mid" for layer in range(layers)],
        "hook_points_out": [f"blocks.{layer}.hook_mlp_out" for layer in range(layers)],
    }
    config = {
        "sae_type": "clt", "d_model": d, "expansion_factor": n / d, "act_fn": "topk", "top_k": 6,
        "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True, **hooks,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"W_E": noise(1, layers, d, n, size=0.3), "b_E": noise(2, layers, n, size=0.3)}
    for to in range(layers):
        tensors[f"W_D.{to}"] = noise(3 + to, to + 1, n, d, size=0.3)
        tensors[f"b_D.{to}"] = noise(9 + to, d, size=0.3)
        for hook, norm in (("hook_resid_mid", 2.0 + to), ("hook_mlp_out", 5.0 + to)):
            name = f"dataset_average_activation_norm.blocks.{to}.{hook}"
            tensors[name] = torch.tensor(norm)
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def write_llama_scope(folder: Path, d: int = 16, n: int = 32, **settings: object) -> Path:
    """Write a transcoder as Llama Scope was first published."""
    (folder / "checkpoints").mkdir(parents=True)
    config = {
        "hook_point_in": "blocks.1.mlp.hook_in", "hook_point_out": "blocks.1.hook_mlp_out",
        "use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False, "d_model": d,
        "d_sae": n, "expansion_factor": n / d, "act_fn": "jumprelu", "jump_relu_threshold": 0.25,
        "norm_activation": "dataset-wise", "use_glu_encoder": False, "top_k": 50,
        "dataset_average_activation_norm": {"in": 2.0, "out": 16.0},
        "sparsity_include_decoder_norm": True,
    }  # fmt: skip
    (folder / "hyperparams.json").write_text(json.dumps(config | settings))
    t = jump_relu_tensors(d, n)
    tensors = {
        "encoder.weight": t["W_enc"].T.contiguous(), "encoder.bias": t["b_enc"],
        "decoder.weight": t["W_dec"].T.contiguous(), "decoder.bias": t["b_dec"],
    }  # fmt: skip
    save_file(tensors, folder / "checkpoints" / "final.safetensors")
    return folder


def write_sparsify(root: Path, d: int = 16, n: int = 24, **settings: object) -> Path:
    """Write a TopK dictionary of an MLP's output."""
    folder = root / "layers.1.mlp"
    folder.mkdir(parents=True)
    (root / "config.json").write_text(json.dumps({"model": "org/tiny"}))
    config = {
        "activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": n,
        "k": 5, "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": d,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    tensors = {
        "encoder.weight": noise(1, n, d, size=0.3), "encoder.bias": noise(2, n, size=0.3),
        "W_dec": noise(3, n, d, size=0.3), "b_dec": noise(4, d, size=0.3),
    }  # fmt: skip
    if settings.get("skip_connection"):
        tensors["W_skip"] = noise(5, d, d, size=0.3)
    save_file(tensors, folder / "sae.safetensors")
    return folder


def write_dictionary_learning(
    folder: Path, dict_class: str = "AutoEncoder", d: int = 16, n: int = 24
) -> Path:
    """Write one of dictionary_learning's classes as torch saves it."""
    folder.mkdir(parents=True)
    trainer = {
        "dict_class": dict_class, "activation_dim": d, "dict_size": n, "layer": 1, "k": 5,
        "lm_name": "org/tiny", "submodule_name": "resid_post_layer_1",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    torch.save(dictionary_learning_tensors(dict_class, d, n), folder / "ae.pt")
    return folder


def dictionary_learning_tensors(
    dict_class: str, d: int = 16, n: int = 24
) -> dict[str, torch.Tensor]:
    """Return the tensors of a class under the names it has there."""
    W_enc, b_enc = noise(1, n, d, size=0.3), noise(2, n, size=0.3)
    W_dec, b_dec = noise(3, d, n, size=0.3), noise(4, d, size=0.3)
    if dict_class in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        tensors = {
            "W_enc": W_enc.T.contiguous(), "b_enc": b_enc,
            "W_dec": W_dec.T.contiguous(), "b_dec": b_dec, "threshold": noise(5, n).abs() * 0.2,
        }  # fmt: skip
        if dict_class == "MatryoshkaBatchTopKSAE":
            tensors |= {"threshold": torch.tensor(0.3), "k": torch.tensor(5)}
        return tensors
    tensors = {"encoder.weight": W_enc, "decoder.weight": W_dec}
    if dict_class == "GatedAutoEncoder":
        return tensors | {
            "r_mag": noise(6, n, size=0.2), "gate_bias": noise(7, n), "mag_bias": noise(8, n),
            "decoder_bias": b_dec,
        }  # fmt: skip
    tensors["encoder.bias"] = b_enc
    names = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}
    tensors[names.get(dict_class, "b_dec")] = b_dec
    if dict_class == "BatchTopKSAE":
        tensors |= {"threshold": torch.tensor(0.3), "k": torch.tensor(5)}
    if dict_class == "AutoEncoderTopK":
        tensors["k"] = torch.tensor(5)
    return tensors
