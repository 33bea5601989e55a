"""EfficientNet-Lite against timm's, and the depthwise convolution against torch's."""

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.models.depthwise import SamePadded, input_gradient, weight_gradient
from striate.models.stages import stages_of
from striate.models.zoo import build


@pytest.mark.parametrize("number", [0, 1, 2])
def test_timm_s_weights_give_timm_s_logits(number):
    theirs = timm.create_model(f"tf_efficientnet_lite{number}", num_classes=7).eval()
    ours = build(f"efficientnet_lite{number}", num_classes=7).eval()
    state, names = theirs.state_dict(), list(ours.state_dict())
    assert [tuple(t.shape) for t in ours.state_dict().values()] == [
        tuple(t.shape) for t in state.values()
    ]
    ours.load_state_dict(dict(zip(names, state.values(), strict=True)))
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.1)
    for size in (64, 75):
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
        with torch.no_grad():
            torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=1e-4)


def test_its_stages():
    stages = stages_of(build("efficientnet_lite0", num_classes=7), 3, 224)
    assert [(s.stride, s.channels) for s in stages] == [
        (2, 16), (4, 24), (8, 40), (16, 112), (32, 1280), (0, 0),
    ]  # fmt: skip
    assert stages[4].modules == ("blocks.5", "blocks.6", "top.0", "top.1", "top.2")


@given(
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_depthwise_gradients_are_torch_s(size, kernel, stride, seed):
    generator = torch.Generator().manual_seed(seed)
    layer = SamePadded(4, 4, kernel, stride, groups=4, bias=False).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    outputs = [-(-side // stride) for side in size]
    total = [
        max((n - 1) * stride + kernel - side, 0) for n, side in zip(outputs, size, strict=True)
    ]
    before = [t // 2 for t in total]
    pads = (before[1], total[1] - before[1], before[0], total[0] - before[0])
    found = layer(x)
    expected = F.conv2d(F.pad(x, pads), layer.weight, None, stride, 0, 1, 4)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(found.shape, dtype=torch.float64, generator=generator)
    expected.backward(upstream)
    ours = input_gradient(upstream, layer.weight, x.shape, stride, tuple(before))
    torch.testing.assert_close(ours, x.grad)
    ours = weight_gradient(upstream, x, layer.weight, stride, tuple(before))
    torch.testing.assert_close(ours, layer.weight.grad)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_in_bfloat16_the_network_s_own_gradients_are_near_those_of_float32(kernel, stride):
    layer = SamePadded(8, 8, kernel, stride, groups=8, bias=False)
    images, found = torch.randn(4, 8, 12, 12), {}
    for precise in (True, False):
        x = images.clone().requires_grad_()
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            y = layer(x)
        y.float().square().sum().backward()
        found[precise] = (x.grad, layer.weight.grad)
        assert y.dtype == (torch.float32 if precise else torch.bfloat16)
        assert x.grad.dtype == layer.weight.grad.dtype == torch.float32
    for exact, rough in zip(found[True], found[False], strict=True):
        assert (exact - rough).norm() < 0.01 * exact.norm()
