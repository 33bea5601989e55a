"""Every layer against torch in float64: outputs and all gradients, over random configurations."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate.textbook import convolution, layers
from striate.textbook.arrays import TextbookError
from striate.textbook.layer import Layer

few = settings(max_examples=60, deadline=None, derandomize=True)
many = settings(max_examples=200, deadline=None, derandomize=True)
side = st.integers(5, 11)
small = st.integers(1, 3)
pairs = st.tuples(small, small)
seeds = st.integers(0, 2**16)


def close(ours, theirs):
    """1e-9 relative to the tensor's largest entry, as sums of mixed signs have it."""
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == tuple(theirs.shape)
    scale = max(np.abs(theirs).max(initial=0), 1e-30)
    assert np.abs(ours - theirs).max(initial=0) <= 1e-9 * scale


def agree(layer, module, x, seed=0):
    """Outputs, dL/dx and dL/dθ at x for a random upstream gradient."""
    module = module.double()
    layer.load_state_dict({n: v.detach().numpy() for n, v in module.state_dict().items()})
    tx = torch.tensor(x, requires_grad=True)
    ty, y = module(tx), layer(x)
    close(y, ty)
    g = np.random.default_rng(seed).normal(size=y.shape)
    ty.backward(torch.tensor(g))
    close(layer.backward(g), tx.grad)
    for name, parameter in module.named_parameters():
        close(layer.named("grads")[name], parameter.grad)
    for name, value in module.state_dict().items():
        close(layer.state_dict()[name], value)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@many
@given(
    n=small, groups=small, inputs=small, outputs=small, height=side, width=side, kernel=pairs,
    stride=pairs, padding=st.tuples(st.integers(0, 4), st.integers(0, 4)), dilation=pairs,
    bias=st.booleans(), seed=seeds,
)  # fmt: skip
def test_convolution(
    n, groups, inputs, outputs, height, width, kernel, stride, padding, dilation, bias, seed
):
    height, width = height + 2, width + 2  # the largest kernel spans 7
    options = (groups * inputs, groups * outputs, kernel, stride, padding, dilation, groups, bias)
    x = normal(n, groups * inputs, height, width, seed=seed)
    agree(layers.Conv2d(*options), nn.Conv2d(*options), x, seed)


@few
@given(
    n=small, maps=small, height=side, width=side, kernel=st.tuples(small, small),
    stride=st.none() | pairs, padded=st.booleans(), dilation=pairs, seed=seeds,
)  # fmt: skip
def test_max_pooling(n, maps, height, width, kernel, stride, padded, dilation, seed):
    padding = tuple(k // 2 for k in kernel) if padded else 0
    options = (kernel, stride, padding, dilation)
    x = normal(n, maps, height + 2, width + 2, seed=seed)
    agree(layers.MaxPool2d(*options), nn.MaxPool2d(*options), x, seed)


@few
@given(
    n=small, maps=small, height=side, width=side, kernel=pairs, stride=st.none() | pairs,
    padded=st.booleans(), seed=seeds,
)  # fmt: skip
def test_average_pooling(n, maps, height, width, kernel, stride, padded, seed):
    padding = tuple(k // 2 for k in kernel) if padded else 0
    x = normal(n, maps, height + 2, width + 2, seed=seed)
    agree(layers.AvgPool2d(kernel, stride, padding), nn.AvgPool2d(kernel, stride, padding), x, seed)


def test_pooling_takes_the_first_of_equal_values():
    x = np.zeros((1, 1, 4, 4))
    agree(layers.MaxPool2d(2), nn.MaxPool2d(2), x)


@few
@given(n=st.integers(2, 5), maps=small, height=small, width=small, training=st.booleans(),
       flat=st.booleans(), seed=seeds)  # fmt: skip
def test_batch_norm(n, maps, height, width, training, flat, seed):
    """Also the running averages (in `agree`), also in test behaviour with averages moved first."""
    module = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(maps, momentum=0.3).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(normal(maps, seed=seed)))
        module.bias.copy_(torch.tensor(normal(maps, seed=seed + 1)))
    shape = (n, maps) if flat else (n, maps, height, width)
    module(torch.tensor(normal(*shape, seed=seed + 2)))
    layer = layers.BatchNorm(maps, momentum=0.3).train(training)
    agree(layer, module.train(training), 3 + 2 * normal(*shape, seed=seed), seed)


class Piecewise(nn.Module):
    """Maxout and global pooling, which torch does not have as layers."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


OTHERS = {
    "linear": (lambda: layers.Linear(12, 5), lambda: nn.Linear(12, 5), (4, 12)),
    "no bias": (
        lambda: layers.Linear(3, 5, bias=False), lambda: nn.Linear(3, 5, bias=False), (4, 3)),
    "flatten": (layers.Flatten, nn.Flatten, (2, 3, 4, 5)),
    "relu": (layers.ReLU, nn.ReLU, (3, 4)),
    "leaky": (lambda: layers.LeakyReLU(0.1), lambda: nn.LeakyReLU(0.1), (3, 4)),
    "elu": (lambda: layers.ELU(0.7), lambda: nn.ELU(0.7), (3, 4)),
    "sigmoid": (layers.Sigmoid, nn.Sigmoid, (3, 4)),
    "tanh": (layers.Tanh, nn.Tanh, (3, 4)),
    "global": (layers.GlobalAvgPool, lambda: Piecewise(lambda x: x.mean((2, 3))), (2, 3, 4, 5)),
    "maxout": (
        lambda: layers.Maxout(3),
        lambda: Piecewise(lambda x: x.unflatten(1, (-1, 3)).amax(2)), (2, 6, 4)),
    "dropout off": (lambda: layers.Dropout(0.5).train(False), lambda: nn.Dropout(0.5).eval(), (9,)),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@given(seed=seeds)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_other_layers(name, seed):
    ours, theirs, shape = OTHERS[name]
    agree(ours(), theirs(), 2 * normal(*shape, seed=seed), seed)


@pytest.mark.parametrize("x", [-800.0, -30.0, 0.0, 30.0, 800.0])
def test_sigmoid_at_the_ends(x):
    np.testing.assert_allclose(layers.Sigmoid()([x]), torch.sigmoid(torch.tensor([x]).double()))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.shortcut = nn.Sequential(nn.Conv2d(4, 4, 1))

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def block(**more):
    conv, norm = layers.Conv2d(4, 4, 3, padding=1, bias=False), layers.BatchNorm(4)
    return layers.Residual(layers.Sequential(conv, norm, layers.ReLU()), **more)


def test_a_whole_network_under_torch_names():
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3), Block(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    )
    ours = layers.Sequential(
        layers.Conv2d(3, 4, 3),
        block(shortcut=layers.Sequential(layers.Conv2d(4, 4, 1))),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(36, 5),
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    agree(ours, theirs, normal(2, 3, 8, 8))
    theirs.load_state_dict({n: torch.tensor(v) for n, v in ours.state_dict().items()})


def test_identity_shortcut_lets_the_gradient_past():
    """L14, M1: with zero weights the block is the identity, and so is its derivative."""
    skip = layers.Residual(layers.Linear(3, 3))
    skip.body.params["weight"][...] = 0
    x, g = normal(2, 3), normal(2, 3, seed=1)
    assert np.array_equal(skip(x), x)
    assert np.array_equal(skip.backward(g), g)


def by_matrix(x, w, step):
    """im2col: a column for each window, then one matrix product, and its two derivatives."""
    seen = convolution.windows(x, w.shape[2:], step)
    n, o, (p, q) = len(x), len(w), seen.shape[4:]
    columns, rows = seen.reshape(n, -1, p * q), w.reshape(o, -1)

    def backward(g):
        g = g.reshape(n, o, p * q)
        dx = convolution.add_windows((rows.T @ g).reshape(seen.shape), x.shape, step)
        return dx, (g @ columns.swapaxes(1, 2)).sum(axis=0).reshape(w.shape)

    return (rows @ columns).reshape(n, o, p, q), backward


@many
@given(kernel=pairs, stride=pairs, padding=pairs, dilation=pairs, seed=seeds)
def test_matrix_form_agrees(kernel, stride, padding, dilation, seed):
    """L6 and im2col are two ways to write the same derivative."""
    step = (stride, padding, dilation)
    x, w = normal(2, 3, 9, 8, seed=seed), normal(4, 3, *kernel, seed=seed + 1)
    y, backward = by_matrix(x, w, step)
    close(convolution.correlate(x, w, step), y)
    g = normal(*y.shape, seed=seed + 2)
    dx, dw = backward(g)
    close(convolution.input_gradient(w, g, x.shape, step), dx)
    close(convolution.weight_gradient(x, g, w.shape[2:], step), dw)


def test_dropout_keeps_the_mean_and_its_mask():
    layer = layers.Dropout(0.3, rng=1)
    x = np.ones((200, 200))
    y = layer(x)
    assert set(np.unique(y)) == {0, 1 / 0.7}
    assert abs(y.mean() - 1) < 0.01
    assert np.array_equal(layer.backward(x), y)
    assert not np.array_equal(layer(x), y)


def test_update_is_the_third_rule():
    layer = layers.Sequential(layers.Linear(3, 2))
    before = copy.deepcopy(layer.parameters())
    layer(normal(4, 3))
    layer.backward(normal(4, 2))
    layer.update(0.1)
    for name, p in layer.parameters().items():
        np.testing.assert_array_equal(p, before[name] - 0.1 * layer.named("grads")[name])


def test_precision_follows_the_parameters():
    parts = layers.BatchNorm(2), layers.LeakyReLU(), layers.Dropout(0.1), layers.AvgPool2d(2)
    layer = layers.Sequential(layers.Conv2d(1, 2, 3), *parts).astype(np.float32)
    y = layer(normal(2, 1, 6, 6).astype(np.float32))
    assert y.dtype == layer.backward(y).dtype == np.float32
    assert {g.dtype for g in layer.named("grads").values()} == {np.dtype(np.float32)}


def test_layers_draw_different_weights_and_masks():
    first, second = layers.Linear(4, 4), layers.Linear(4, 4)
    assert not np.array_equal(first.params["weight"], second.params["weight"])
    twice = layers.Sequential(layers.Dropout(0.5), layers.Dropout(0.5))
    assert 0.7 < (twice(np.ones((100, 100))) == 0).mean() < 0.8


def test_a_layer_in_two_places_is_refused():
    relu = layers.ReLU()
    with pytest.raises(TextbookError, match="one layer in two places"):
        layers.Sequential(layers.Linear(3, 3), relu, layers.Linear(3, 3), relu)
    with pytest.raises(TextbookError, match="one layer in two places"):
        layers.Residual(layers.Sequential(relu), relu)


def test_initial_weights_have_hes_deviation():
    assert abs(layers.Linear(400, 300).params["weight"].std() / np.sqrt(2 / 400) - 1) < 0.01
    assert not layers.Linear(4, 3).params["bias"].any()


FAULTS = {
    "features": (layers.Linear(12, 10), np.ones((4, 13)), "(4, 13), expected (N, 12)", "Linear"),
    "maps": (layers.Conv2d(3, 8, 3), np.ones((1, 4, 8, 8)), "(1, 4, 8, 8), expected (N, 3, H, W)",
             "Conv2d(in_channels=3"),
    "axes": (layers.MaxPool2d(2), np.ones((4, 4)), "(4, 4), expected (N, C, H, W)", "MaxPool2d"),
    "kernel": (layers.Conv2d(1, 1, 7), np.ones((1, 1, 5, 5)),
               "floor((5 + 2·0 − 1·(7 − 1) − 1)/1) + 1 = -1", "Conv2d", "(1, 1, 5, 5)"),
    "pool": (layers.MaxPool2d(3), np.ones((1, 1, 2, 2)), "does not fit 2 pixels", "MaxPool2d"),
    "pad": (layers.MaxPool2d(2, padding=2), np.ones((1, 1, 4, 4)), "at most half the kernel"),
    "norm": (layers.BatchNorm(3), np.ones((2, 4)), "expected (N, 3, …)", "BatchNorm"),
    "one": (layers.BatchNorm(3), np.ones((1, 3)), "one value a map", "BatchNorm"),
    "pieces": (layers.Maxout(2), np.ones((2, 3)), "3 maps are no multiple of 2", "Maxout"),
    "nan": (layers.ReLU(), [1.0, np.nan], "1 of 2 values are not finite, the first at (1,)"),
    "text": (layers.ReLU(), ["a"], "expected numbers"),
    "complex": (layers.ReLU(), [1j], "expected numbers"),
    "empty": (layers.Linear(3, 2), np.ones((0, 3)), "(0, 3), expected (N, 3)"),
    "inside": (layers.Sequential(layers.ReLU(), layers.Linear(3, 2)), np.ones((2, 4)),
               "Linear(in_features=3, out_features=2): the input has shape (2, 4)"),
    "sum": (layers.Residual(layers.Linear(3, 2)), np.ones((2, 3)), "gives (2, 2), past it (2, 3)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_input(name):
    layer, x, *pieces = FAULTS[name]
    with pytest.raises(TextbookError) as error:
        layer(x)
    for piece in pieces:
        assert piece in str(error.value)


def test_wrong_use():
    layer = layers.Linear(3, 2)
    with pytest.raises(TextbookError, match="backward before forward"):
        layer.backward(np.ones((1, 2)))
    layer(np.ones((4, 3)))
    with pytest.raises(TextbookError, match=r"upstream gradient has shape \(4, 3\), expected"):
        layer.backward(np.ones((4, 3)))
    with pytest.raises(TextbookError, match="upstream gradient: 1 of 8"):
        layer.backward([[1, 1], [1, np.inf], [1, 1], [1, 1]])
    with pytest.raises(TextbookError, match="names differ"):
        layer.load_state_dict({"weight": np.ones((2, 3))})
    with pytest.raises(TextbookError, match="weight has shape"):
        layer.load_state_dict({"weight": np.ones((3, 2)), "bias": np.ones(2)})
    with pytest.raises(TextbookError, match="do not divide into 2 groups"):
        layers.Conv2d(3, 4, 1, groups=2)
    with pytest.raises(TextbookError, match="below 1"):
        layers.Dropout(1.0)
    with pytest.raises(NotImplementedError):
        Layer()(np.ones(1))
