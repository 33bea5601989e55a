"""`striate gradcheck` on torch modules, functions, autograd functions and textbook layers."""

import pytest
import torch
from torch import nn

from striate.core.errors import ModelError
from striate.models.gradcheck import check_target, load


class WrongSquare(torch.autograd.Function):
    """x² with a backward that forgets the 2."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x


class InPlaceDouble(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            x *= 2
        return x * 3


class Forgetful(nn.Module):
    """One parameter never reaches the output."""

    def __init__(self, width=4):
        super().__init__()
        self.used, self.unused = nn.Linear(width, 2), nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.used(x) + self.unused.detach()


def two_outputs(x):
    return x, x


class Kinked(nn.Module):
    """A rectified parameter that starts at 0."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return x + torch.relu(self.shift)


def verdicts(target, *inputs, **options):
    findings = check_target(load(target), inputs, **options)
    return {finding.evidence["tensor"]: finding.verdict for finding in findings}


@pytest.mark.parametrize(
    ("target", "inputs", "tensors"),
    [
        ("torch.nn:Conv2d(3, 4, kernel_size=(3, 2), stride=2)", ["2x3x7x6"], {"weight", "bias"}),
        ("torch.nn:BatchNorm2d(3)", ["4x3x2x2"], {"weight", "bias"}),
        ("torch.nn:Dropout(0.4)", ["5x6"], set()),
        ("torch.nn:GRUCell(3, 2)", ["2x3", "2x2"], {"weight_ih", "weight_hh", "bias_ih"}),
        ("torch.nn:Sequential", ["2x3"], set()),
        ("striate.textbook.layers:Conv2d(3, 4, 3, padding=1)", ["2x3x5x5"], {"weight", "bias"}),
        ("striate.textbook.layers:Tanh", ["2x3"], set()),
        ("torch:tanh", ["2x3"], set()),
        ("torch.nn.functional:cross_entropy", ["4x10", "4:int10"], set()),
        ("torch:log", ["2x3:positive"], set()),
        ("torch.nn:LSTM(3, 4)", ["5x2x3"], {"weight_ih_l0", "bias_hh_l0"}),
        ("torch.nn:MultiheadAttention(4, 2)", ["3x2x4"] * 3, {"in_proj_weight"}),
        ("tests.models.test_gradcheck:two_outputs", ["2x3"], set()),
        ("striate.textbook.losses:hinge", ["4x3", "4:int3"], set()),
        ("striate.textbook.losses:mse", ["4x3", "4x3"], set()),
    ],
)  # fmt: skip
def test_right_ones_pass(target, inputs, tensors):
    found = verdicts(target, *inputs)
    assert set(found.values()) == {"pass"}
    assert tensors <= set(found)


def test_wrong_ones_fail_with_the_worst_entry():
    (finding,) = check_target(load("tests.models.test_gradcheck:WrongSquare"), ["3x4"])
    assert finding.verdict == "fail"
    assert finding.evidence["stated"] == pytest.approx(finding.evidence["measured"] / 2)
    assert len(finding.evidence["worst"]) == 2
    assert finding.remedy
    found = verdicts("tests.models.test_gradcheck:Forgetful(width=3)", "2x3")
    assert found == {"input": "pass", "used.weight": "pass", "used.bias": "pass", "unused": "fail"}


def test_changes_in_place_and_kinks():
    for target in ("tests.models.test_gradcheck:InPlaceDouble", "torch.nn:ReLU(inplace=True)"):
        (finding,) = check_target(load(target), ["2x3"])
        assert finding.text.startswith("input: is changed in place")
        assert finding.verdict == "fail"
    smooth, finding = check_target(load("tests.models.test_gradcheck:Kinked"), ["2x3"])
    assert smooth.verdict == "pass"
    assert (finding.verdict, finding.evidence["kink"]) == ("note", True)


def single_inside(x):
    return torch.softmax(x, dim=1, dtype=torch.float32).double() * x


def test_what_cannot_be_judged_is_undetermined():
    (finding,) = check_target(single_inside, ["2x3"])
    assert finding.verdict == "undetermined"
    assert "computes in float32" in finding.text
    (finding,) = check_target(torch.log, ["2x30"])
    assert finding.verdict == "undetermined"
    assert "values are not finite: choose another input" in finding.text


def test_weights_follow_the_seed_and_test_behaviour_can_be_checked():
    first, second = (load("torch.nn:Linear(3, 2)", seed=1).weight for _ in range(2))
    assert torch.equal(first, second)
    found = verdicts("torch.nn:BatchNorm1d(3)", "1x3", evaluate=True)
    assert set(found.values()) == {"pass"}


def test_modules_are_left_as_they_were():
    norm = nn.BatchNorm1d(3)
    check_target(norm, ["4x3"])
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.weight.grad is None


@pytest.mark.parametrize(
    ("target", "pieces"),
    [
        ("torch.nn", ("names nothing to check", "package.module:Layer")),
        ("torch.nn:Conv2", ("torch.nn has no 'Conv2'", "Conv2d")),
        ("no_such_module:f", ("No module named 'no_such_module'",)),
        ("torch.nn:Conv2d", ("missing 3 required", "Write its arguments out", "in_channels")),
        ("torch.nn:Conv2d(3, x)", ("cannot be read", "x is no literal")),
        ("torch.nn:Conv2d(3, 4", ("cannot be read",)),
        ("torch.nn:Conv2d(3, 4, 3) + f()", ("cannot be read",)),
    ],
)
def test_wrong_targets(target, pieces):
    with pytest.raises(ModelError) as error:
        load(target)
    for piece in pieces:
        assert piece in str(error.value)


def test_wrong_inputs():
    conv = load("torch.nn:Conv2d(3, 4, 3)")
    for shape in ("2x3x", "axb", "0x3", "3:float2", ""):
        with pytest.raises(ModelError, match="is no shape"):
            check_target(conv, [shape])
    with pytest.raises(ModelError, match="called on 2x4x5x5 it raises"):
        check_target(conv, ["2x4x5x5"])
    with pytest.raises(ModelError, match=r"shape \(2, 4\), expected"):
        check_target(load("striate.textbook.layers:Linear(3, 2)"), ["2x4"])
