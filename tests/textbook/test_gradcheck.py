"""The gradient check passes every layer, reports kinks, and catches wrong backward rules."""

import numpy as np
import pytest

from striate.textbook import convolution as conv
from striate.textbook import layers
from striate.textbook.arrays import TextbookError
from striate.textbook.gradcheck import check, check_layer
from striate.textbook.layer import Layer
from striate.textbook.losses import softmax_cross_entropy


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def verdicts(checks):
    return {c.name: c.verdict for c in checks}


IMAGES = (2, 4, 6, 5)
RIGHT = {
    "conv": (layers.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=(1, 2), groups=2), IMAGES),
    "linear": (layers.Linear(5, 3), (4, 5)),
    "max": (layers.MaxPool2d(2, stride=1), IMAGES),
    "mean": (layers.AvgPool2d(3, padding=1), IMAGES),
    "global": (layers.GlobalAvgPool(), IMAGES),
    "flatten": (layers.Flatten(), IMAGES),
    "relu": (layers.ReLU(), IMAGES),
    "leaky": (layers.LeakyReLU(0.1), IMAGES),
    "elu": (layers.ELU(), IMAGES),
    "sigmoid": (layers.Sigmoid(), IMAGES),
    "tanh": (layers.Tanh(), IMAGES),
    "maxout": (layers.Maxout(2), IMAGES),
    "norm": (layers.BatchNorm(4), IMAGES),
    "norm in a test": (layers.BatchNorm(4).train(False), IMAGES),
    "dropout": (layers.Dropout(0.4), IMAGES),
    "residual": (layers.Residual(layers.Linear(5, 5)), (4, 5)),
    "network": (
        layers.Sequential(
            layers.Conv2d(4, 3, 3), layers.BatchNorm(3), layers.ReLU(), layers.Flatten(),
            layers.Linear(36, 4)),
        IMAGES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_layers_pass(name):
    layer, shape = RIGHT[name]
    before = {n: v.copy() for n, v in layer.state_dict().items()}
    checks = check_layer(layer, normal(*shape))
    assert {c.name for c in checks} == {"input", *layer.parameters()}
    assert {c.verdict for c in checks} == {"pass"}, checks
    assert max(c.error for c in checks) < 1e-6
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def wrong(forward_of, **changes):
    """A layer whose backward is changed: `dx`, `weight`, `bias` map (layer, x, g, right)."""

    class Wrong(type(forward_of)):
        def forward(self, x):
            y, right = super().forward(x)

            def backward(g):
                dx = right(g)
                for name in ("weight", "bias"):
                    if name in changes:
                        self.grads[name] = changes[name](self, x, g, self.grads[name])
                return changes["dx"](self, x, g, dx) if "dx" in changes else dx

            return y, backward

    forward_of.__class__ = Wrong
    return forward_of


def conv_layer(**more):
    return layers.Conv2d(3, 3, 3, **({"padding": 1} | more))


def same(w, g, x, step=((1, 1), (1, 1), (1, 1))):
    return conv.input_gradient(w, g, x.shape, step)


def norm_part(layer, x, g, mean=True, variance=True, gamma=True):
    """Batch norm's input gradient with parts left out."""
    deviation = np.sqrt(x.var(axis=0) + layer.eps)
    normal_x = (x - x.mean(axis=0)) / deviation
    part = g - mean * g.mean(axis=0) - variance * normal_x * (g * normal_x).mean(axis=0)
    return part / deviation * (layer.params["weight"] if gamma else 1)


def norm():
    layer = layers.BatchNorm(4)
    layer.params["weight"][...] = [0.5, 1.5, -1, 2]
    return layer


MAPS, ROWS = (2, 3, 6, 6), (5, 4)
WRONG = {
    "linear: missing transpose in dx": (
        wrong(layers.Linear(4, 4), dx=lambda s, x, g, dx: g @ s.params["weight"].T), ROWS),
    "linear: missing transpose in dW": (
        wrong(layers.Linear(4, 4), weight=lambda s, x, g, dw: dw.T), ROWS),
    "linear: bias gradient is a mean": (
        wrong(layers.Linear(4, 4), bias=lambda s, x, g, db: g.mean(axis=0)), ROWS),
    "linear: dW divided by the batch": (
        wrong(layers.Linear(4, 4), weight=lambda s, x, g, dw: dw / len(x)), ROWS),
    "linear: no gradient to the input": (
        wrong(layers.Linear(4, 4), dx=lambda s, x, g, dx: 0 * dx), ROWS),
    "conv: unmirrored kernel": (
        wrong(conv_layer(), dx=lambda s, x, g, dx: same(
            s.params["weight"][:, :, ::-1, ::-1], g, x)), MAPS),
    "conv: mirrored in one direction": (
        wrong(conv_layer(), dx=lambda s, x, g, dx: same(
            s.params["weight"][:, :, ::-1], g, x)), MAPS),
    "conv: input and output maps not swapped": (
        wrong(conv_layer(), dx=lambda s, x, g, dx: same(s.params["weight"].swapaxes(0, 1), g, x)),
        MAPS),
    "conv: wrong padding": (
        wrong(conv_layer(), dx=lambda s, x, g, dx: np.roll(dx, 1, axis=2)), MAPS),
    "conv: border forgotten": (
        wrong(conv_layer(), dx=lambda s, x, g, dx: np.pad(
            dx[:, :, 1:-1, 1:-1], ((0, 0), (0, 0), (1, 1), (1, 1)))), MAPS),
    "conv: stride forgotten in dx": (
        wrong(conv_layer(stride=2), dx=lambda s, x, g, dx: same(
            s.params["weight"], np.repeat(np.repeat(g, 2, 2), 2, 3), x)), MAPS),
    "conv: stride forgotten in dW": (
        wrong(conv_layer(stride=2), weight=lambda s, x, g, dw: conv.weight_gradient(
            x, g, (3, 3), ((1, 1), (1, 1), (1, 1)))), MAPS),
    "conv: dW mirrored": (
        wrong(conv_layer(), weight=lambda s, x, g, dw: dw[:, :, ::-1, ::-1]), MAPS),
    "conv: bias sums one image": (
        wrong(conv_layer(), bias=lambda s, x, g, db: g[0].sum(axis=(1, 2))), MAPS),
    "conv: dilation forgotten in dx": (
        wrong(conv_layer(dilation=2, padding=2),
              dx=lambda s, x, g, dx: same(s.params["weight"], g, x)), MAPS),
    "conv: groups mixed up": (
        wrong(layers.Conv2d(4, 4, 3, padding=1, groups=2),
              dx=lambda s, x, g, dx: np.roll(dx, 2, axis=1)), (2, 4, 5, 5)),
    "max pool: gradient to the minimum": (
        wrong(layers.MaxPool2d(2), dx=lambda s, x, g, dx: layers_min(x, g)), MAPS),
    "max pool: gradient to the whole window": (
        wrong(layers.MaxPool2d(2), dx=lambda s, x, g, dx: np.repeat(
            np.repeat(g, 2, 2), 2, 3)), MAPS),
    "max pool: overlap overwrites": (
        wrong(layers.MaxPool2d(3, stride=1), dx=lambda s, x, g, dx: np.sign(dx) * np.minimum(
            np.abs(dx), np.abs(g).max())), MAPS),
    "mean pool: not divided": (
        wrong(layers.AvgPool2d(2), dx=lambda s, x, g, dx: 4 * dx), MAPS),
    "relu: mask of the gradient, not of the input": (
        wrong(layers.ReLU(), dx=lambda s, x, g, dx: g * (g > 0)), ROWS),
    "leaky relu: slope forgotten": (
        wrong(layers.LeakyReLU(0.1), dx=lambda s, x, g, dx: g * (x > 0)), ROWS),
    "elu: α forgotten": (
        wrong(layers.ELU(0.5), dx=lambda s, x, g, dx: g * np.where(x > 0, 1, np.exp(x))), ROWS),
    "sigmoid: 1 − y forgotten": (
        wrong(layers.Sigmoid(), dx=lambda s, x, g, dx: g / (1 + np.exp(-x))), ROWS),
    "tanh: square forgotten": (
        wrong(layers.Tanh(), dx=lambda s, x, g, dx: g * (1 - np.tanh(x))), ROWS),
    "maxout: always the first piece": (
        wrong(layers.Maxout(2), dx=lambda s, x, g, dx: np.stack(
            [g, 0 * g], 2).reshape(x.shape)), ROWS),
    "norm: batch mean forgotten": (
        wrong(norm(), dx=lambda s, x, g, dx: norm_part(s, x, g, mean=False)), ROWS),
    "norm: batch variance forgotten": (
        wrong(norm(), dx=lambda s, x, g, dx: norm_part(s, x, g, variance=False)), ROWS),
    "norm: γ forgotten": (
        wrong(norm(), dx=lambda s, x, g, dx: norm_part(s, x, g, gamma=False)), ROWS),
    "norm: γ's gradient of x, not of x̂": (
        wrong(norm(), weight=lambda s, x, g, dw: (g * x).sum(axis=0)), ROWS),
    "norm in a test: statistics differentiated": (
        wrong(norm().train(False), dx=lambda s, x, g, dx: norm_part(s, x, g)), ROWS),
    "dropout: scale forgotten": (
        wrong(layers.Dropout(0.5), dx=lambda s, x, g, dx: dx / 2), (6, 6)),
    "dropout: mask forgotten": (
        wrong(layers.Dropout(0.5), dx=lambda s, x, g, dx: g), (6, 6)),
    "residual: shortcut forgotten": (
        wrong(layers.Residual(layers.Linear(4, 4)), dx=lambda s, x, g, dx: dx - g), ROWS),
    "one entry wrong by 0.1 %": (
        wrong(layers.Linear(4, 4), weight=lambda s, x, g, dw: dw * (
            1 + 1e-3 * np.eye(4, 4, 3))), ROWS),
}  # fmt: skip


def layers_min(x, g):
    pool = layers.MaxPool2d(2)
    pool(-x)
    return pool.backward(g)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules_are_caught(name):
    layer, shape = WRONG[name]
    fails = [c for c in check_layer(layer, normal(*shape)) if c.verdict == "fail"]
    assert len(fails) == 1, name
    fail = fails[0]
    assert fail.error > 1e-6
    assert abs(fail.stated - fail.measured) > 0
    assert str(fail.worst) in fail.text


def test_there_are_enough_wrong_rules():
    assert len(WRONG) >= 20


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (layers.MaxPool2d(2), np.zeros((1, 1, 4, 4))),
        (layers.ReLU(), np.array([[0.0, 1.0, -1.0]])),
        (layers.Maxout(2), np.array([[1.0, 1.0, 2.0, 3.0]])),
        (layers.LeakyReLU(0.1), np.array([[0.0, -1.0]])),
        (layers.MaxPool2d(2, stride=1), np.zeros((1, 1, 4, 4))),  # ties that overlap
        (layers.MaxPool2d(3, stride=1), np.round(normal(1, 2, 6, 6))),
    ],
)
def test_a_kink_is_reported_not_failed(layer, x):
    (found,) = check_layer(layer, x)
    assert found.verdict == "kink"
    assert "at a kink" in found.text


def test_a_kink_beside_the_point_is_no_matter():
    (found,) = check_layer(layers.ReLU(), np.array([[3e-6, -3e-6, 1.0]]))
    assert found.verdict == "pass"


def test_a_network_that_starts_at_zero_stands_at_kinks():
    net = layers.Sequential(layers.Linear(4, 3), layers.ReLU(), layers.Linear(3, 2))
    net.parameters()["0.weight"][...] = 0
    assert verdicts(check_layer(net, normal(3, 4)))["0.weight"] == "kink"


def test_a_wrong_value_at_a_kink_fails():
    layer = wrong(layers.ReLU(), dx=lambda s, x, g, dx: g * np.where(x == 0, 3, x > 0))
    (found,) = check_layer(layer, np.array([[0.0, 1.0]]))
    assert found.verdict == "fail"


def test_a_sharp_bend_is_no_kink():
    """x² is smooth: a wrong slope at 0 fails although left and right slopes have two signs."""
    found = check(
        lambda t: 1e3 * t["x"] ** 2, lambda t, g: {"x": g * 1e3}, {"x": np.array([0.0, 1.0])}
    )
    assert verdicts(found) == {"x": "fail"}


class InPlace(Layer):
    def __init__(self, where):
        super().__init__()
        self.where = where
        self.params = {"weight": np.full(3, 2.0)}

    def forward(self, x):
        w = self.params["weight"]
        y = x * w
        if self.where == "input":
            x *= 2
        if self.where == "weight":
            w += 1

        def backward(g):
            self.grads["weight"] = (g * x).sum(axis=0)
            if self.where == "upstream gradient":
                g *= w
                return g
            return g * w

        return y, backward


@pytest.mark.parametrize("where", ["input", "weight", "upstream gradient"])
def test_changes_in_place_are_found(where):
    (found,) = check_layer(InPlace(where), normal(2, 3))
    assert (found.name, found.verdict) == (where, "fail")
    assert "in place" in found.text


def test_other_faults_of_a_function():
    x = {"x": normal(3)}
    rng = np.random.default_rng(0)

    def one(function, derivative, verdict="fail"):
        (found,) = check(function, derivative, x)
        assert found.verdict == verdict
        return found.text

    out = one(lambda t: t["x"] * np.nan, lambda t, g: {"x": g}, "undetermined")
    assert out == "3 of 3 values are not finite: choose another input"

    assert "different outputs" in one(lambda t: t["x"] + rng.normal(), lambda t, g: {"x": g})
    assert "no gradient reaches it" in one(lambda t: t["x"], lambda t, g: {"x": None})
    assert "no gradient reaches it" in one(lambda t: t["x"], lambda t, g: {})
    assert "shape (1,), expected (3,)" in one(lambda t: t["x"], lambda t, g: {"x": g[:1]})
    assert "not finite" in one(lambda t: t["x"], lambda t, g: {"x": g * np.nan})


def test_the_upstream_gradient_is_no_copy_of_the_input():
    """Both random, with one seed: were they equal, many wrong rules would look right."""
    seen = []
    check(lambda t: t["x"], lambda t, g: seen.append(g.copy()) or {"x": g}, {"x": normal(3, 4)})
    assert abs(np.corrcoef(seen[0].ravel(), normal(3, 4).ravel())[0, 1]) < 0.9


def test_large_tensors_are_sampled():
    (found,) = check_layer(layers.Tanh(), normal(50, 50), limit=20)
    assert found.text.startswith("20 of 2500 entries agree")
    (found,) = check_layer(layers.Tanh(), normal(0, 5))
    assert found.verdict == "pass"


def test_steep_and_flat_functions():
    """Rounding grows with the size of the output, truncation with the third derivative."""
    big = np.array([1.0, 2.0])
    for f, slope in (
        (lambda x: 1e8 + x, np.ones_like),
        (lambda x: 1e-9 * x, lambda x: np.full_like(x, 1e-9)),
        (lambda x: np.exp(8 * x), lambda x: 8 * np.exp(8 * x)),
    ):
        found = check(
            lambda t, f=f: f(t["x"]), lambda t, g, s=slope: {"x": g * s(t["x"])}, {"x": big}
        )
        assert verdicts(found) == {"x": "pass"}, found


ONE = np.array([1.0, 2.0, -3.0])
HIDDEN = {
    "offset, wrong": (lambda x: x + 1e9, lambda x: np.full(3, 50.0), "fail"),
    "offset, too large to tell": (lambda x: x + 1e13, lambda x: np.ones(3), "undetermined"),
    "scalar with an offset, wrong": (
        lambda x: np.array((x**2).sum() * 1e-3 + 1e6), lambda x: -1e-3 * x, "fail"),
    "scalar with an offset, right": (
        lambda x: np.array((x**2).sum() * 1e-3 + 1e6), lambda x: 2e-3 * x, "pass"),
    "small beside large, wrong": (
        lambda x: x * [1e6, 1, 1], lambda x: np.array([1e6, 0.0, 5]), "fail"),
    "small beside large, right": (
        lambda x: x * [1e6, 1, 1e-6], lambda x: np.array([1e6, 1, 1e-6]), "pass"),
    "a jump beside the point": (
        lambda x: x + 1e3 * (x >= 1 + 5e-6), lambda x: np.array([5.0, 1, 1]), "fail"),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_rounding_hides_nothing_wrong(name):
    """Derivatives beside large offsets, or small beside large ones."""
    f, slope, verdict = HIDDEN[name]
    found = check(lambda t: f(t["x"]), lambda t, g: {"x": g * slope(t["x"])}, {"x": ONE})
    assert verdicts(found) == {"x": verdict}, found


def test_a_function_that_ends_near_the_point():
    """log at 1e-5: the first step would reach 0."""
    points = {"x": np.array([1e-5, 1.0, 2.0])}
    with np.errstate(all="ignore"):
        for factor, verdict in ((1, "pass"), (7, "fail")):
            found = check(
                lambda t: np.log(t["x"]), lambda t, g, f=factor: {"x": f * g / t["x"]}, points
            )
            assert verdicts(found) == {"x": verdict}, found


def test_a_wrong_loss_gradient_is_caught():
    def found(factor):
        return check(
            lambda t: np.array(softmax_cross_entropy(t["s"], [0, 1])[0]),
            lambda t, g: {"s": factor * g * softmax_cross_entropy(t["s"], [0, 1])[1]},
            {"s": normal(2, 3)},
        )

    assert verdicts(found(1)) == {"s": "pass"}
    assert verdicts(found(2)) == {"s": "fail"}


def test_non_finite_input():
    with pytest.raises(TextbookError, match="gradcheck: the input: 1 of 2 values"):
        check_layer(layers.ReLU(), [1.0, np.inf])
