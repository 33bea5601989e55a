"""torch's optimisers without its compiler, beside torch's own."""

import copy
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from striate.core.uncompiled import uncompiled
from striate.optim.muon import Muon

KINDS = [torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.Adam,
         torch.optim.AdamW, torch.optim.LBFGS, Muon]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_steps_as_torchs_own(kind):
    """With a schedule, hooks, and a state that is saved and loaded on the way, bit by bit."""
    ends = []
    for made in (kind, uncompiled(kind)):
        torch.manual_seed(0)
        net, called = nn.Linear(5, 3), []
        rule = made(net.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(rule, lambda step: 1 / (1 + step))
        for step in range(6):
            if step == 3:
                saved = rule.state_dict()
                rule = made(net.parameters(), lr=0.1)
                rule.load_state_dict(saved)
                rule.register_step_post_hook(lambda *_, called=called: called.append(1))
            loss(net, rule, step).backward()
            rule.step(*([partial(again, net, rule)] if kind is torch.optim.LBFGS else []))
            schedule.step()
        assert all(p.requires_grad for p in net.parameters())
        assert len(called) == 3
        assert isinstance(rule, kind)
        ends.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(*ends)


def loss(net, rule, step=0):
    rule.zero_grad()
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
    return net(x).square().mean()


def again(net, rule):
    value = loss(net, rule)
    value.backward()
    return value


def test_no_rule_imports_the_compiler():
    program = (
        "import sys, torch\n"
        "from striate.optim.rules import UPDATE_RULES, make_optimiser\n"
        "net = torch.nn.Linear(2, 2)\n"
        "for name, rule in UPDATE_RULES.items():\n"
        "    made = make_optimiser(net, name, lr=0.1, l2=0.0, knobs=rule.knobs)\n"
        "    made.zero_grad()\n"
        "    net(torch.ones(1, 2)).sum().backward()\n"
        "    made.step()\n"
        "    made.load_state_dict(made.state_dict())\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_is_copied_and_kept_in_files(kind, tmp_path):
    net = nn.Linear(5, 3)
    rule = uncompiled(kind)(net.parameters(), lr=0.1)
    loss(net, rule).backward()
    rule.step(*([partial(again, net, rule)] if kind is torch.optim.LBFGS else []))
    torch.save(rule, tmp_path / "rule.pt")
    copies = [copy.deepcopy(rule), torch.load(tmp_path / "rule.pt", weights_only=False)]
    for made in copies:
        assert isinstance(made, kind)
        assert made.state_dict().keys() == rule.state_dict().keys()
        for ours, theirs in zip(made.param_groups[0]["params"], net.parameters(), strict=True):
            assert torch.equal(ours, theirs)
            assert ours is not theirs
    assert uncompiled(kind) is type(rule)
