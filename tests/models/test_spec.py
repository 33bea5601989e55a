"""Networks on one line: the same in torch and in the textbook, and their wrong input."""

import numpy as np
import pytest
import torch

from striate.core.errors import ModelError
from striate.models import spec, zoo
from striate.models.plain import network
from striate.textbook import layers

EVERYTHING = (
    "conv 3x3 8 pad same groups 2, batchnorm, leakyrelu, avgpool 2, "
    "conv 3x2 6 stride 2x1 dilation 1 nobias, elu, pool 2 stride 1, conv 1 5, tanh, gap, "
    "fc 7 nobias, sigmoid, dropout .2, batchnorm, relu, fc classes"
)


@pytest.mark.parametrize(
    "text",
    [EVERYTHING, "conv 5x5 10 pad 2, relu, pool 2, fc 10", "flatten, fc classes",
     "CONV 3X3 4 PAD 1,RELU,FC 3"],
)  # fmt: skip
def test_one_line_makes_the_same_network_twice(text):
    """Parameters can be copied, and then the outputs agree to rounding."""
    theirs = network(text, 3, channels=2, image_size=12).double().eval()
    ours = layers.Sequential(*spec.build(text, (2, 12, 12), layers, classes=3)).train(False)
    ours.load_state_dict({n: v.numpy() for n, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(4, 2, 12, 12))
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach(), rtol=1e-9, atol=1e-12)


def test_the_lectures_convolution():
    """L4: 32×32×3 through ten 5×5 filters, pad 2: 32×32×10 and 760 parameters."""
    conv = network("conv 5x5 10 pad 2", 0, channels=3, image_size=32)
    assert conv(torch.zeros(1, 3, 32, 32)).shape == (1, 10, 32, 32)
    assert sum(p.numel() for p in conv.parameters()) == 760


def test_a_spec_is_a_name_of_the_zoo():
    zoo.check_name("conv 3x3 8, relu, fc classes")
    assert zoo.takes_grey("conv 3x3 8, relu, fc classes")
    assert not zoo.takes_grey("resnet18")
    net = zoo.build("conv 3x3 8, relu, fc classes", num_classes=4, channels=1, image_size=8)
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 4)
    assert not spec.is_spec("lenet")
    assert spec.is_spec("gap")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("cnov 3x3 8, fc 2", ("no layer 'cnov'", "Perhaps you meant: conv", "avgpool K")),
        ("conv 3x3 8,, fc 2", ("no layer '' in ''",)),
        ("conv 3x3, fc 2", ("'conv 3x3' lacks its out_channels",)),
        ("conv 3x3 pad 1", ("lacks its out_channels",)),
        ("conv 3y3 8", ("kernel_size is '3y3'", "whole number from 1")),
        ("conv 0 8", ("kernel_size is '0'",)),
        ("conv 3 8 pad", ("pad lacks its number",)),
        ("conv 3 8 pad -1", ("padding is '-1'", "from 0")),
        ("conv 3 8 step 2", ("what is 'step'?",)),
        ("pool 2 groups 2", ("what is 'groups'?",)),
        ("conv 9x9 4", ("'conv 9x9 4' on 8×8 maps", "floor((8 + 2·0 − 1·(9 − 1) − 1)/1) + 1 = 0")),
        ("conv 3 8 groups 3", ("3 and 8 maps do not divide into 3 groups",)),
        ("pool 2 pad 2", ("at most half the kernel",)),
        ("fc 4, conv 3 8", ("'conv 3 8' needs maps, but 4 features arrive",)),
        ("dropout 1.5, relu", ("'1.5' is no probability",)),
        ("dropout x", ("lacks its p",)),
        ("conv 2x2 8 pad same", ("no padding keeps the size with an even kernel",)),
        ("conv 3 8 pad 1 pad 2", ("has pad twice",)),
    ],
)
def test_wrong_specs(text, pieces):
    with pytest.raises(ModelError) as error:
        network(text, 2, channels=3, image_size=8)
    for piece in pieces:
        assert piece in str(error.value)
