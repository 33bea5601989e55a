"""Exercises: their answers are those of torch, and answers are read as people type them."""

import io
import re
from itertools import islice

import pytest
import torch

from striate.core.errors import StriateError
from striate.labs.quiz import TOPICS, number, questions


def numbers(text):
    return [float(found) for found in re.findall(r"\d+(?:\.\d+)?", text)]


def some(topic, count=40):
    return islice(questions(topic, 7), count)


def test_sizes_are_torchs():
    for one in some("sizes"):
        kernel, _, stride, padding, *dilation, size, _ = (int(n) for n in numbers(one.text))
        layer = torch.nn.Conv2d(1, 1, kernel, stride, padding, *dilation)
        assert layer(torch.zeros(1, 1, size, size)).shape[-1] == one.answer


def test_parameters_are_torchs():
    for one in some("parameters"):
        outputs, inputs, kernel, _ = (int(n) for n in numbers(one.text))
        layer = torch.nn.Conv2d(inputs, outputs, kernel, bias="with biases" in one.text)
        assert sum(p.numel() for p in layer.parameters()) == one.answer


def test_receptive_fields_are_those_of_gradients():
    for one in some("receptive-fields"):
        layers = re.findall(r"(\d)×\d with stride (\d)", one.text)
        net = torch.nn.Sequential(
            *(torch.nn.Conv2d(1, 1, int(k), int(s), bias=False) for k, s in layers)
        )
        for parameter in net.parameters():
            torch.nn.init.ones_(parameter)
        image = torch.zeros(1, 1, 80, 80, requires_grad=True)
        net(image)[0, 0, 1, 1].backward()
        assert int((image.grad[0, 0].sum(dim=0) != 0).sum()) == one.answer


def test_gradients_are_torchs():
    for one in some("backpropagation"):
        found = dict(re.findall(r"([xyz]) = (-?\d)(?=[,.])", one.text))
        x, y, z = (torch.tensor(float(found[n]), requires_grad=True) for n in "xyz")
        value = (torch.maximum(x, y) if "max" in one.text else x + y) * z
        value.backward()
        asked = re.search(r"∂f/∂([xyz])\?", one.text)[1]
        assert {"x": x, "y": y, "z": z}[asked].grad.item() == one.answer


def test_counts_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, precision_score, recall_score

    scores = {"precision": precision_score, "recall": recall_score, "accuracy": accuracy_score}
    for one in some("counts"):
        tp, fp, fn, tn = (int(n) for n in numbers(one.text))
        truth = [1] * tp + [0] * fp + [1] * fn + [0] * tn
        said = [1] * (tp + fp) + [0] * (fn + tn)
        name = re.search(r"its (\w+)\?", one.text)[1]
        assert scores[name](truth, said) == pytest.approx(one.answer)


def test_schedules_are_torchs():
    for one in some("schedules"):
        start, gamma, every, _, _, epoch = numbers(one.text.replace("1,000", "1000"))
        rule = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=start)
        schedule = torch.optim.lr_scheduler.StepLR(rule, int(every), gamma)
        for _ in range(int(epoch)):
            rule.step()
            schedule.step()
        assert 1000 * rule.param_groups[0]["lr"] == pytest.approx(one.answer)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1/3", 1 / 3), ("0,25", 0.25), (" −4 ", -4), ("1e-2", 0.01), ("2 / 4", 0.5)],
)
def test_numbers_as_people_type_them(text, value):
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "abc", "1/0", "inf", "nan", "1/2/3", "--"])
def test_what_is_no_number(text):
    with pytest.raises(StriateError, match="no number"):
        number(text)


def test_the_same_seed_asks_the_same_and_rounding_is_forgiven():
    assert list(some("")) == list(some(""))
    one = next(q for q in some("counts") if 0.3 < q.answer < 0.9)
    assert one.right(f"{one.answer:.3f}")
    assert not one.right(f"{one.answer + 0.02:.3f}")
    with pytest.raises(StriateError, match="topic"):
        next(questions("size"))


def test_the_command(striate_cli, monkeypatch):
    good = next(questions("sizes", 3)).answer
    monkeypatch.setattr("sys.stdin", io.StringIO(f"x\n{good}\n-1\nq\n"))
    code, out, _ = striate_cli("lab", "quiz", "sizes", "--seed", 3)
    assert code == 0
    assert "no number" in out
    assert "Right:" in out
    assert "No, it is" in out
    assert "1 of 2 right" in out
    code, out, _ = striate_cli("lab", "quiz", "--sheet", "--seed", 1)
    assert code == 0
    assert len(re.findall(r"^\d\. ", out, re.MULTILINE)) == 12
    assert striate_cli("lab", "quiz", "sises")[0] == 2
    code, _, err = striate_cli("lab", "quiz", "--seed", "-1")
    assert code == 2
    assert "--seed -1" in err
    assert len(TOPICS) == 6
