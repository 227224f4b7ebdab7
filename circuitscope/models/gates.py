"""Nonlinearities of MLPs by name: value, secant gate act(z) / z, and derivative, in closed form.

The gate is never found by dividing by z near 0, so it is exact there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from circuitscope.core.errors import UnsupportedArchitecture

Curve = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Activation:
    """A nonlinearity act(z) = gate(z) * z.

    Attributes:
        gate: act(z) / z in closed form.
        slope: Derivative of the gate; the derivative of act follows by the product rule.
    """

    gate: Curve
    slope: Curve

    def value(self, z: Tensor) -> Tensor:
        """Return act(z)."""
        return self.gate(z) * z

    def derivative(self, z: Tensor) -> Tensor:
        """Return d act / dz."""
        return self.gate(z) + z * self.slope(z)


_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _step(z: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


def _normal_cdf(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _tanh_gate(z: Tensor) -> Tensor:
    # 0.5 (1 + tanh x) = sigmoid(2 x), which keeps its precision for very negative x.
    return torch.sigmoid(2 * _ROOT_2_OVER_PI * (z + _CUBIC * z**3))


def _tanh_slope(z: Tensor) -> Tensor:
    gate = _tanh_gate(z)
    return 2 * _ROOT_2_OVER_PI * (1 + 3 * _CUBIC * z * z) * gate * (1 - gate)


def _sigmoid_slope(z: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate * (1 - gate)


_NEAR_ZERO = 1e-3


def _tanh_ratio(z: Tensor) -> Tensor:
    """Return tanh(z) / z, by its series where the division would lose digits."""
    small = z.abs() < _NEAR_ZERO
    whole = torch.where(small, 1.0, z)
    return torch.where(small, 1 - z * z / 3, torch.tanh(whole) / whole)


def _tanh_ratio_slope(z: Tensor) -> Tensor:
    small = z.abs() < _NEAR_ZERO
    whole = torch.where(small, 1.0, z)
    t = torch.tanh(whole)
    return torch.where(small, -2 * z / 3, ((1 - t * t) - t / whole) / whole)


_RELU = Activation(_step, torch.zeros_like)
_SILU = Activation(torch.sigmoid, _sigmoid_slope)
_GELU = Activation(_normal_cdf, _normal_density)
_GELU_TANH = Activation(_tanh_gate, _tanh_slope)

_ACTIVATIONS = {
    "relu": _RELU,
    "tanh": Activation(_tanh_ratio, _tanh_ratio_slope),
    "silu": _SILU,
    "swish": _SILU,
    "gelu": _GELU,
    "gelu_python": _GELU,
    "gelu_new": _GELU_TANH,
    "gelu_fast": _GELU_TANH,
    "gelu_pytorch_tanh": _GELU_TANH,
    "gelu_python_tanh": _GELU_TANH,
}


def activation(name: str) -> Activation:
    """Return a nonlinearity by its name in transformers.

    Raises:
        UnsupportedArchitecture: No closed-form gate is known for it.
    """
    found = _ACTIVATIONS.get(name)
    if found is None:
        raise UnsupportedArchitecture(
            f"The model's MLPs use the nonlinearity {name!r}, whose secant gate is not known.",
            hint=f"Nonlinearities that can be traced: {', '.join(sorted(_ACTIVATIONS))}.",
        )
    return found


GatedRule = Literal["half", "through_u", "gradient"]


@dataclass(frozen=True, slots=True)
class Gates:
    """Frozen gates of one MLP: hidden = on_g * g + on_u * u + constant.

    Attributes:
        on_g: Factor of the pre-activation, [pos, d_mlp].
        on_u: Factor of the ungated input of a gated MLP, else None.
        constant: What the gradient rule leaves over, else None.
    """

    on_g: Tensor | None
    on_u: Tensor | None = None
    constant: Tensor | None = None


def freeze_gates(name: str, g: Tensor, u: Tensor | None, rule: GatedRule) -> Gates:
    """Return the gates at the full input of a forward pass.

    Args:
        name: The nonlinearity.
        g: Pre-activation with its bias, [pos, d_mlp].
        u: Ungated factor with its bias, or None for a plain MLP, where the rule does not matter.
        rule: How a gated MLP's product act(g) u is shared between g and u.
    """
    act = activation(name)
    if u is None:
        return Gates(act.gate(g))
    if rule == "half":
        return Gates(0.5 * act.gate(g) * u, 0.5 * act.value(g))
    if rule == "through_u":
        return Gates(None, act.value(g))
    on_g = act.derivative(g) * u
    return Gates(on_g, act.value(g), -on_g * g)
