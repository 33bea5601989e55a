"""Groups of parameters by stage and kind."""

from torch import nn

from striate.optim.groups import parameter_groups
from striate.optim.rules import UPDATE_RULES

PLAIN = {"weights": 1.0, "output": 1.0, "others": 1.0}
MUON = UPDATE_RULES["muon"]
OF_MUON = {"weights": 1.0, "output": MUON.head_rate, "others": MUON.bias_rate}


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip


def named(net, group):
    names = {id(p): name for name, p in net.named_parameters()}
    return {names[id(p)] for p in group["params"]}


def test_without_factors_there_is_a_group_for_each_kind():
    net = network()
    groups = parameter_groups(net, 1e-3, PLAIN, {})
    assert [named(net, g) for g in groups] == [
        {"0.weight", "3.weight"}, {"5.weight"},
        {"0.bias", "1.weight", "1.bias", "3.bias", "5.bias"},
    ]  # fmt: skip
    assert [g["weight_decay"] for g in groups] == [1e-3, 1e-3, 0.0]
    assert [g["lr_scale"] for g in groups] == [1.0, 1.0, 1.0]


def test_factors_multiply_the_scales_of_kinds():
    net = network()
    factors = {"0.weight": 0.1, "0.bias": 0.1}
    groups = parameter_groups(net, 1e-3, OF_MUON, factors, orthogonalise=True)
    scales = {name: g["lr_scale"] for g in groups for name in named(net, g)}
    assert scales["0.weight"] == 0.1
    assert scales["3.weight"] == 1.0
    assert scales["0.bias"] == 0.1 * scales["3.bias"]
    assert scales["5.weight"] == MUON.head_rate
    assert all(g["weight_decay"] == 0 for g in groups if g.get("orthogonalise"))


def test_factor_0_is_in_no_group():
    net = network()
    groups = parameter_groups(net, 1e-3, PLAIN, {"0.weight": 0.0, "0.bias": 0.0})
    everything = set().union(*(named(net, g) for g in groups))
    assert not everything & {"0.weight", "0.bias"}
    assert "3.weight" in everything


def test_what_does_not_learn_is_in_no_group():
    net = network()
    net[0].weight.requires_grad = False
    groups = parameter_groups(net, 0.0, PLAIN, {})
    assert "0.weight" not in set().union(*(named(net, g) for g in groups))
