import pytest
import torch
from transformers.activations import ACT2FN

from circuitscope.core.errors import UnsupportedArchitecture
from circuitscope.models.gates import activation, freeze_gates

NAMES = ["relu", "silu", "gelu", "gelu_new", "gelu_pytorch_tanh"]
Z = torch.cat([torch.linspace(-12, 12, 401, dtype=torch.float64), torch.tensor([1e-30, 0.0])])


@pytest.mark.parametrize("name", NAMES)
def test_gate_times_input_is_the_activation_of_transformers(name: str) -> None:
    act = activation(name)
    torch.testing.assert_close(act.value(Z), ACT2FN[name](Z), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_autograds(name: str) -> None:
    z = Z[Z != 0].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(ACT2FN[name](z).sum(), z)
    found = activation(name).derivative(z.detach())
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(("name", "at_zero"), [("silu", 0.5), ("gelu", 0.5), ("gelu_new", 0.5)])
def test_gate_at_zero_is_the_limit_and_not_a_division(name: str, at_zero: float) -> None:
    assert float(activation(name).gate(torch.zeros(()))) == at_zero


@pytest.mark.parametrize("name", NAMES)
def test_gate_keeps_its_precision_far_below_zero_in_float32(name: str) -> None:
    z = torch.linspace(-9, -4, 50)
    exact = activation(name).gate(z.double())
    torch.testing.assert_close(activation(name).gate(z).double(), exact, rtol=2e-5, atol=0)


@pytest.mark.parametrize("rule", ["half", "through_u", "gradient"])
def test_gated_rules_give_back_the_product(rule: str) -> None:
    g, u = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gates = freeze_gates("silu", g, u, rule)
    hidden = gates.on_u * u
    hidden = hidden if gates.on_g is None else hidden + gates.on_g * g
    hidden = hidden if gates.constant is None else hidden + gates.constant
    torch.testing.assert_close(hidden, torch.nn.functional.silu(g) * u)


def test_half_rule_reduces_to_the_plain_rule_for_constant_u() -> None:
    """With u constant, both halves of the product come from g alone."""
    g = torch.linspace(-3, 3, 9, dtype=torch.float64)
    one = torch.ones_like(g)
    half, plain = freeze_gates("gelu", g, one, "half"), freeze_gates("gelu", g, None, "half")
    torch.testing.assert_close(half.on_g * g + half.on_u * one, plain.on_g * g)


def test_gradient_rule_is_the_derivative_of_the_product() -> None:
    g = torch.linspace(-3, 3, 9, dtype=torch.float64).requires_grad_()
    u = torch.linspace(2, -1, 9, dtype=torch.float64).requires_grad_()
    on_g, on_u = torch.autograd.grad((torch.nn.functional.silu(g) * u).sum(), (g, u))
    gates = freeze_gates("silu", g.detach(), u.detach(), "gradient")
    torch.testing.assert_close(gates.on_g, on_g)
    torch.testing.assert_close(gates.on_u, on_u)


def test_unknown_nonlinearity_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedArchitecture, match="'mystery'") as caught:
        activation("mystery")
    assert "gelu_new" in caught.value.hint
