"""Sizes, costs and receptive fields: the lectures' exercises (L4, L5, L8, L13), and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate.models.arithmetic import equivariance_error
from striate.textbook import layers
from striate.textbook.arithmetic import Field, conv_cost, dropped
from striate.textbook.arrays import TextbookError
from striate.textbook.convolution import output_size


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "size", "left_over"),
    [
        (7, 3, 1, 0, 5, 0),
        (7, 3, 2, 0, 3, 0),
        (7, 3, 3, 0, 2, 1),  # 2.33: deck B says "does not fit", frameworks drop a pixel
        (7, 3, 1, 1, 7, 0),
        (5, 2, 3, 0, 2, 0),
        (32, 5, 1, 2, 32, 0),
        (5, 2, 1, 1, 6, 0),  # L5: deck E draws 4
        (224, 11, 4, 2, 55, 0),
    ],
)
def test_output_sizes(n, kernel, stride, padding, size, left_over):
    assert output_size(n, kernel, stride, padding) == size
    assert dropped(n, kernel, stride, padding) == left_over


@given(
    st.integers(1, 40), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3)
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_output_size_and_dropped_pixels_as_torch_has_them(n, kernel, stride, padding, dilation):
    """What is dropped is what has no gradient at the far end."""
    conv = nn.Conv1d(1, 1, kernel, stride, padding, dilation, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1)
    x = torch.ones(1, 1, n, requires_grad=True)
    if n + 2 * padding < dilation * (kernel - 1) + 1:
        with pytest.raises(TextbookError, match=r"does not fit .* floor\("):
            output_size(n, kernel, stride, padding, dilation)
        return
    y = conv(x)
    assert output_size(n, kernel, stride, padding, dilation) == y.shape[2]
    if stride <= kernel and dilation == 1:  # no gaps: unseen pixels are at the end only
        y.sum().backward()
        assert dropped(n, kernel, stride, padding) == int((x.grad == 0).sum())


def test_costs():
    """L4: ten 5×5 filters on 3 maps have 760 parameters, six have 456."""
    assert conv_cost(3, 10, (5, 5), 32 * 32) == (760, 10 * 32 * 32 * 75)
    assert conv_cost(3, 6, (5, 5), 1)[0] == 456
    assert conv_cost(4, 6, (3, 3), 1, groups=2, bias=False)[0] == 6 * 2 * 9


def test_stacks_of_three_by_three():
    """L13: per pair of channels, with a bias each: 20 against 26, 30 against 50 parameters; 36
    against 50, 54 against 98 operations (a multiplication and an addition each)."""
    small, five, seven = (conv_cost(1, 1, (k, k), 1) for k in (3, 5, 7))
    assert [2 * small[0], five[0], 3 * small[0], seven[0]] == [20, 26, 30, 50]
    assert [2 * 2 * small[1], 2 * five[1], 3 * 2 * small[1], 2 * seven[1]] == [36, 50, 54, 98]
    field = Field()
    for size in (3, 5, 7):
        field = field.through((3, 3), (1, 1), (1, 1), (1, 1))
        assert field.size == (size, size)


def test_fields_are_what_gradients_see():
    """The field of the first and second unit of a strided, dilated, padded stack."""
    conv = layers.Conv2d(1, 1, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 3))
    pool = layers.AvgPool2d(2, stride=2)
    stack = layers.Sequential(conv, pool)
    for layer in (conv,):
        layer.params["weight"][...] = 1
    x = np.ones((1, 1, 24, 24))
    y = stack(x)
    field = Field().through((3, 2), (2, 1), (1, 0), (1, 3)).through((2, 2), (2, 2), (0, 0), (1, 1))
    for unit in ((0, 0), (1, 1)):
        g = np.zeros(y.shape)
        g[0, 0, unit[0], unit[1]] = 1
        rows, columns = (np.flatnonzero(stack.backward(g)[0, 0].any(axis=a)) for a in (1, 0))
        for axis, seen in enumerate((rows, columns)):
            first = unit[axis] * field.stride[axis] - field.padding[axis]
            assert seen[0] == max(0, first)
            assert seen[-1] == first + field.size[axis] - 1


def test_convolution_is_equivariant_and_a_dense_layer_is_not():
    """L8: up to the border, for shifts by multiples of the stride."""
    images = np.random.default_rng(0).normal(size=(2, 3, 20, 20))
    conv = layers.Conv2d(3, 4, 3, padding=1)
    assert equivariance_error(conv, images, 3, border=1) < 1e-12
    assert equivariance_error(conv, images, 3) > 0.01  # the padding shows
    strided = layers.Sequential(
        layers.Conv2d(3, 4, 3, stride=2), layers.ReLU(), layers.MaxPool2d(2)
    )
    assert equivariance_error(strided, images, 4, stride=4) < 1e-12
    weights = np.random.default_rng(1).normal(size=(19 * 19, 19 * 19))
    dense = lambda x: (x[:, 0].reshape(2, -1) @ weights).reshape(2, 1, 19, 19)  # noqa: E731
    assert equivariance_error(dense, images, 1, border=1) > 0.1


def test_wrong_questions():
    images = np.zeros((1, 1, 6, 6))
    with pytest.raises(TextbookError, match="a shift of 3 is no positive multiple of the stride 2"):
        equivariance_error(layers.ReLU(), images, 3, stride=2)
    with pytest.raises(TextbookError, match="inside a border of 3"):
        equivariance_error(layers.ReLU(), images, 1, border=3)
