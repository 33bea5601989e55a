"""Muon against the singular value decomposition, torch's own iteration and the written formula."""

import pytest
import torch
from torch import nn
from torch.optim import _muon as torch_muon

from striate.optim.muon import Muon, orthogonalised
from striate.optim.rules import make_optimiser


def flat(shape, ratio, seed=0):
    """A matrix with singular values from `ratio` to 1."""
    u, _, vt = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(seed)), full_matrices=False
    )
    return u @ torch.diag(torch.linspace(ratio, 1, min(shape))) @ vt


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (1, 5), (5, 1)])
def test_directions_are_kept_and_made_equal(shape):
    matrix = flat(shape, 0.3)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalised(matrix) @ vt.T
    values = found.diagonal()
    assert values.min() > 0.6
    assert values.max() < 1.3
    torch.testing.assert_close(found, torch.diag(values), atol=1e-4, rtol=0)


def test_torch_s_iteration_gives_the_same():
    matrix = flat((12, 30), 0.05)
    theirs = torch_muon._zeropower_via_newtonschulz(matrix, (3.4445, -4.775, 2.0315), 3, 1e-12)
    ours = orthogonalised(matrix.bfloat16())
    torch.testing.assert_close(ours.float(), theirs.float(), atol=0.02, rtol=0)


def test_a_step_is_the_formula():
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(4, 3, 2, 2).double()), nn.Parameter(torch.randn(4))
    groups = [
        {"params": [weight], "orthogonalise": True},
        {"params": [bias], "weight_decay": 0.1},
    ]
    rule = Muon(groups, lr=0.2, momentum=0.5, dtype=torch.float64)
    reference = nn.Parameter(bias.detach().clone())
    sgd = torch.optim.SGD([reference], lr=0.2, momentum=0.5, nesterov=True, weight_decay=0.1)
    w, v = weight.detach().clone(), torch.zeros_like(weight)
    for _ in range(3):
        g, b = torch.randn_like(weight), torch.randn_like(bias)
        weight.grad, bias.grad, reference.grad = g.clone(), b.clone(), b.clone()
        rule.step()
        sgd.step()
        v = 0.5 * v + g
        q = orthogonalised((g + 0.5 * v).reshape(4, -1)).reshape(w.shape)
        turned = w - 0.2 * w.norm() * q / 2  # √4
        w = turned * w.norm() / turned.norm()
        torch.testing.assert_close(weight.detach(), w)
        torch.testing.assert_close(bias, reference)


def test_lengths_are_kept_whatever_the_layout_and_precision():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 6, 3, 3).to(memory_format=torch.channels_last))
    length = weight.norm().item()
    rule = Muon([{"params": [weight], "orthogonalise": True}], lr=0.3, dtype=torch.bfloat16)
    for _ in range(5):
        weight.grad = torch.randn(8, 6, 3, 3)
        rule.step()
    assert weight.norm().item() == pytest.approx(length, rel=1e-5)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_zero_gradient_and_a_zero_weight_stay_finite():
    weight = nn.Parameter(torch.zeros(3, 4))
    rule = Muon([{"params": [weight], "orthogonalise": True}], lr=0.3)
    weight.grad = torch.zeros(3, 4)
    rule.step()
    assert torch.isfinite(weight).all()


def test_the_last_layer_and_biases_are_not_turned():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    rule = make_optimiser(net, "muon", lr=0.1, l2=0.5, knobs={"momentum": 0.6})
    by_id = {id(p): group for group in rule.param_groups for p in group["params"]}
    turned = {name: by_id[id(p)]["orthogonalise"] for name, p in net.named_parameters()}
    assert turned == {"0.weight": True, "0.bias": False, "1.weight": False, "1.bias": False}
    assert by_id[id(net[0].weight)]["weight_decay"] == 0
