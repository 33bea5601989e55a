"""Gradients by patches are torch's own, and are taken where shapes say so."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from striate.core.runtime import Runtime
from striate.models import patches
from striate.models.patches import patched_gradients, weight_gradient

CASES = [
    ((3, 5, 9, 7), 4, (3, 3), (1, 1), (1, 1)),
    ((2, 4, 8, 9), 6, (3, 3), (2, 2), (1, 1)),
    ((2, 3, 11, 8), 5, (3, 3), (2, 1), (0, 2)),
    ((4, 6, 5, 5), 3, (1, 1), (1, 1), (0, 0)),
    ((2, 3, 12, 12), 2, (5, 3), (3, 2), (2, 1)),
    ((1, 1, 3, 3), 1, (3, 3), (1, 1), (0, 0)),
    ((5, 1, 4, 4), 2, (3, 3), (1, 1), (1, 1)),
]
STRIDES = [
    ((4, 5, 1, 7), (35, 1, 1, 5)), ((4, 5, 1, 1), (5, 1, 1, 5)), ((4, 1, 6, 1), (6, 6, 1, 6)),
    ((4, 5, 1, 1), (5, 1, 5, 5)),
]  # fmt: skip
"""Of channels last, where a side of one has any."""
CPU = Runtime(torch.device("cpu"), "float32")


def of_torch(gradient, x, weight, stride, padding):
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]


@pytest.mark.parametrize("room", [1, 1000, 8_000_000])
@pytest.mark.parametrize(("shape", "units", "size", "stride", "padding"), CASES)
def test_the_gradient_is_that_of_torch(shape, units, size, stride, padding, room, monkeypatch):
    monkeypatch.setattr(patches, "_PATCHES", room)
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=torch.channels_last)
    weight = torch.randn(units, shape[1], *size, dtype=torch.float64)
    y = torch.nn.functional.conv2d(x, weight, None, stride, padding)
    gradient = torch.randn_like(y).contiguous(memory_format=torch.channels_last)
    found = weight_gradient(gradient, x, size, stride, padding)
    assert torch.allclose(found, of_torch(gradient, x, weight, stride, padding), atol=1e-10)


@pytest.mark.parametrize(("shape", "strides"), STRIDES)
@pytest.mark.parametrize(("size", "padding"), [((3, 3), (1, 1)), ((1, 1), (0, 0))])
def test_sides_of_one(shape, strides, size, padding):
    x = torch.empty_strided(shape, strides, dtype=torch.float64).copy_(torch.randn(shape))
    assert x.is_contiguous(memory_format=torch.channels_last)
    weight = torch.randn(3, shape[1], *size, dtype=torch.float64)
    y = torch.nn.functional.conv2d(x, weight, None, 1, padding)
    gradient = torch.randn_like(y).contiguous(memory_format=torch.channels_last)
    found = weight_gradient(gradient, x, size, (1, 1), padding)
    assert torch.allclose(found, of_torch(gradient, x, weight, [1, 1], padding), atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_by_numbers(bias):
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
    given = [x, torch.randn(4, 3, 3, 3, dtype=torch.float64)]
    given += [torch.randn(4, dtype=torch.float64)] if bias else []
    given = [g.requires_grad_() for g in given]

    def convolution(x, weight, bias=None):
        return patches._Convolution.apply(x, weight, bias, (2, 2), (1, 1))

    assert torch.autograd.gradcheck(convolution, given)
    assert torch.autograd.gradgradcheck(convolution, given)


@pytest.fixture
def counted(monkeypatch):
    """How often a gradient was taken by patches, as on the processors where they are faster."""
    calls = []
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(patches, "_LEAST_WORK", 1)
    real = patches.weight_gradient
    monkeypatch.setattr(patches, "weight_gradient", lambda *a: calls.append(1) or real(*a))
    return calls


class Net(nn.Module):
    """What torch's users write: layers, functions, in-place activations, a frozen layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.wide = nn.Conv2d(64, 256, 3, 2, 1, bias=False)
        self.point = nn.Conv2d(256, 32, 1)
        self.grouped = nn.Conv2d(32, 256, 3, groups=4)
        self.same = nn.Conv2d(256, 256, 3, padding="same")
        self.frozen = nn.Conv2d(256, 256, 3).requires_grad_(False)
        self.norm = nn.BatchNorm2d(256)

    def forward(self, x):
        x = self.first(x).relu_()
        x = self.norm(self.wide(x)).relu_()
        x = self.grouped(self.point(x))
        x = nn.functional.conv2d(
            x, self.wide.weight[:, :4].repeat(1, 64, 1, 1), stride=1, padding=1
        )
        return self.frozen(self.same(x)).mean((2, 3))


def gradients_of(net, images, inside, of=None):
    of = of or net
    of.zero_grad(set_to_none=True)
    with inside:
        (net(images) ** 2).sum().backward()
    return {name: p.grad.clone() for name, p in of.named_parameters() if p.grad is not None}


def test_a_network_has_the_same_gradients(counted):
    torch.manual_seed(0)
    net = Net().to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 16, 16).to(memory_format=torch.channels_last)
    plain = gradients_of(net, images, torch.enable_grad())
    assert not counted
    found = gradients_of(net, images, patched_gradients(CPU))
    assert len(counted) == 2  # wide and point; others are too narrow, grouped, in words, by keyword
    assert plain.keys() == found.keys()
    for name, gradient in plain.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-5), name
    again = gradients_of(net, images, patched_gradients(CPU))
    assert all(torch.equal(again[name], gradient) for name, gradient in found.items())


@pytest.mark.parametrize(
    "how", ["float64", "rows first", "no gradient", "autocast", "AVX512", "bfloat16"]
)
def test_where_it_was_not_measured_torch_computes(counted, how, monkeypatch):
    conv = nn.Conv2d(8, 256, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    if how == "float64":
        conv, x = conv.double(), x.double()
    if how == "rows first":
        x = x.contiguous()
    if how == "AVX512":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    conv.weight.requires_grad_(how != "no gradient")
    runtime = replace(CPU, precision="bfloat16") if how == "bfloat16" else CPU
    with (
        patched_gradients(runtime),
        torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"),
    ):
        conv(x).float().sum().backward()
    assert not counted


def test_small_convolutions_keep_their_bits(counted, monkeypatch):
    """The steps of small trainings are as they were recorded."""
    monkeypatch.setattr(patches, "_LEAST_WORK", 5e8)
    conv = nn.Conv2d(64, 256, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.randn(64, 64, 4, 4).to(memory_format=torch.channels_last)
    gradients_of(conv, images, patched_gradients(CPU))
    assert not counted
    more = images.repeat(4, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    gradients_of(conv, more, patched_gradients(CPU))
    assert counted


@pytest.mark.parametrize("reentrant", [True, False])
def test_with_checkpointed_activations(counted, reentrant):
    """What the backward pass computes again is outside, and may not meet other saved tensors."""
    conv = nn.Conv2d(8, 256, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last).requires_grad_()

    def net(images):
        return torch.utils.checkpoint.checkpoint(conv, images, use_reentrant=reentrant)

    plain = gradients_of(conv, x, torch.enable_grad())
    found = gradients_of(net, x, patched_gradients(CPU), of=conv)
    assert bool(counted) != reentrant
    assert all(torch.allclose(found[n], g, rtol=1e-4, atol=1e-4) for n, g in plain.items())


class Doubling(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        found = super().__torch_function__(func, types, args, kwargs)
        return 2 * found if func is torch.conv2d else found


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own jvp asks it
def test_what_users_do_with_a_convolution_goes_on(counted):
    conv = nn.Conv2d(8, 256, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    convolved, weight = torch.nn.functional.conv2d, conv.weight
    with patched_gradients(CPU):
        each = torch.vmap(lambda one: convolved(one, weight, None, 1, 1))(x[None])
        _, slope = torch.func.jvp(lambda x: convolved(x, weight, None, 1, 1), (x,), (x,))
        with torch.autograd.forward_ad.dual_level():
            dual = convolved(torch.autograd.forward_ad.make_dual(x, x), weight, None, 1, 1)
            assert torch.autograd.forward_ad.unpack_dual(dual).tangent is not None
        assert torch.equal(convolved(x, weight, None, np.int64(1), 1), each[0])
        assert torch.equal(convolved(x, weight, None, [1], (1,)), each[0])
        doubled = convolved(x.as_subclass(Doubling), weight, None, 1, 1)
        assert torch.fx.symbolic_trace(nn.Sequential(conv)) is not None
        with pytest.raises(RuntimeError):
            convolved(x, weight, None, 0, 1)
    assert torch.allclose(slope, each[0], atol=1e-5)
    assert torch.allclose(doubled.as_subclass(torch.Tensor), 2 * each[0])
    assert not counted
