"""`striate textbook`, `layers`, `gradcheck` as a person types them, right and wrong."""

import json
import xml.etree.ElementTree as ET

import pytest

CONV = "torch.nn:Conv2d(2, 3, 3)"


def rows(out):
    """Lines as lists of words."""
    return [line.split() for line in out.splitlines()]


def test_graph_prints_the_lectures_example(striate_cli, tmp_path):
    code, out, _ = striate_cli(
        "textbook", "graph", "(x+y)*z", "x=-2", "y=5", "z=-4", "--svg", "g.svg"
    )
    assert code == 0
    found = rows(out)
    assert ["x", "-2", "-4"] in found
    assert ["q1", "=", "x", "+", "y", "3", "-4"] in found
    assert ["f", "=", "q1", "*", "z", "-12", "1"] in found
    assert ["q1", "→", "x", "-4", "1", "-4"] in found
    drawn = ET.parse(tmp_path / "g.svg").getroot()
    texts = [e.text for e in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "-4 = -4 · 1" in texts
    assert "×" in texts


def test_graph_draws_every_use(striate_cli, tmp_path):
    """A value used twice has two wires, and the sum of what they bring."""
    code, _, _ = striate_cli("textbook", "graph", "x*x", "x=3", "--svg", "g.svg")
    texts = [e.text for e in ET.parse(tmp_path / "g.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert (code, texts.count("3 = 1 · 3"), "gradient 6" in texts) == (0, 2, True)


def test_graph_of_arrays_negatives_and_functions(striate_cli):
    code, out, _ = striate_cli("textbook", "graph", "-x*2", "x=3")
    assert (code, ["f", "=", "q1", "*", "2", "-6", "1"] in rows(out)) == (0, True)
    code, out, _ = striate_cli(
        "textbook", "graph", "sum(relu(W @ x))", "W=[[1,-2],[3,4]]", "x=[1, 2]"
    )
    assert code == 0
    assert "[[0. 0.] [1. 2.]]" in out
    code, out, _ = striate_cli("textbook", "graph", "max(0, f - q1) + 2 - -1", "f=3", "q1=1")
    assert code == 0
    assert "- -1" in out


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (["(x+y)*w", "x=1", "y=2"], ("column 7: no value for 'w'", "\n        ^")),
        (["x + sin(x)", "x=1"], ("column 5: no function 'sin'; known: exp, log")),
        (["x +", "x=1"], ("column 4",)),
        (["x ^ 2", "x=1"], ("column 1", "write **")),
        (["x.real", "x=1"], ("column 1: not understood",)),
        (["µ + __import__('os')", "µ=1"], ("column 5: no function '__import__'",)),
        (["[i for i in x]", "x=1"], ("not understood",)),
        (["log(x-1)", "x=1"], ("column 1: log of 0", "is not finite")),
        (["1 / x", "x=0"], ("column 1: / of 1, 0",)),
        (["9**9**9**9"], ("** of",)),
        (["max(x)", "x=1"], ("max takes 2 arguments",)),
        (["x", "x=1", "y=2"], ("y is given, but the expression has no y",)),
        (["x", "x=a"], ("'x=a': expected a number",)),
        (["x", "1"], ("'1' is no value", "NAME=NUMBER")),
        (["x", "x=nan"], ("'x=nan': expected a number",)),
        (["x", "x=1e999"], ("x: inf is not finite",)),
        (["a @ b", "a=[1,2]", "b=[1,2,3]"], ("shapes (2,) and (3,) do not fit",)),
        (["x*2", "x=[1,2]"], ("take its sum()",)),
        (["3"], ("no operation on a named value",)),
        (["x*2", "x=3", "x=4"], ("x is given 2 times",)),
        (["x*" + "9" * 400, "x=1"], ("column 3",)),
        (["sum(x@y)", "x=[[[1]]]", "y=[[[1]]]"], ("do not fit",)),
        (["x*2", "x=1", "--svg", "."], ("it is a folder",)),
        (["x", "x=[[1,2],[3]]"], ("x: expected numbers",)),
        (["(" * 3000 + "x" + ")" * 3000, "x=1"], ()),
        (["x" + "+x" * 20000, "x=1"], ("too long",)),
        (["x", "x=" + "9" * 5000], ("expected a number",)),
    ],
)  # fmt: skip
def test_graph_refuses(striate_cli, arguments, pieces):
    code, out, err = striate_cli("textbook", "graph", *arguments)
    assert code == 2, (out, err)
    assert err.startswith("striate: ")
    assert "Traceback" not in err
    for piece in [pieces] if isinstance(pieces, str) else pieces:
        assert piece in err


def test_train_has_the_same_json_as_the_main_job(striate_cli, trained):
    code, out, _ = striate_cli("textbook", "train", "--epochs", 3, "--json")
    assert code == 0
    said = json.loads(out.splitlines()[-1])
    code, main, _ = striate_cli("train", trained[1], "--epochs", 1, "--run", "r", "--json")
    expected = json.loads(main.splitlines()[-1])
    assert said.keys() == expected.keys() - {"doctor"}  # who names flags of the main job
    for split in ("train", "val", "test"):
        assert said[split].keys() == expected[split].keys()
    assert said["run"] is None
    assert said["test"]["accuracy"] > 0.8
    assert "epoch   3  loss" in out
    assert "test scores by class" in out


def test_train_reaches_its_accuracy(striate_cli):
    code, out, _ = striate_cli("textbook", "train", "--epochs", 10, "--json")
    said = json.loads(out.splitlines()[-1])
    assert (code, said["test"]["accuracy"] >= 0.97) == (0, True)


def test_train_takes_rules_and_networks(striate_cli):
    flags = ("--epochs", 2, "--rule", "adam", "--lr", 0.01, "--json")
    results = []
    for _ in range(2):
        code, out, _ = striate_cli(
            "textbook", "train", "--network", "conv 3x3 4, relu, pool 2, fc classes", *flags
        )
        assert code == 0
        results.append(json.loads(out.splitlines()[-1])["test"])
    assert results[0] == results[1]  # the same seed, the same network
    assert results[0]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("flags", "piece"),
    [
        (["--rule", "adm"], "Perhaps you meant: adam"),
        (["--lr", "0"], "must be above 0"),
        (["--epochs", "0"], "must be above 0"),
        (["--network", "conv 3x3 4, fc 3"], "expected (2, 10)"),
        (["--network", "conv 9x9 4, fc classes"], "does not fit 8 pixels"),
        (["--network", "dense 4"], "no layer 'dense'"),
        (["--lr", "1e9"], "not finite"),
        (["--seed", "-1"], "--seed"),
        (["--network", "flatten, fc 9999999999, fc classes"], "does not fit in memory"),
    ],
)
def test_train_refuses(striate_cli, flags, piece):
    code, _, err = striate_cli("textbook", "train", "--epochs", 2, *flags)
    assert (code, piece in err, "Traceback" in err) == (2, True, False), err


@pytest.mark.parametrize("on", ["ravine", "saddle", "minima", "rosenbrock"])
def test_descend_draws_and_compares(striate_cli, tmp_path, on):
    code, out, _ = striate_cli("textbook", "descend", "--on", on, "--svg", "p.svg", "--steps", 800)
    assert code == 0
    assert "goal reached in" in out
    assert {"sgd", "nesterov", "adam"} <= {word for row in rows(out) for word in row}
    assert len(ET.parse(tmp_path / "p.svg").getroot()) > 50


def test_descend_tells_how_a_walk_ends(striate_cli):
    def said(*flags):
        code, out, _ = striate_cli("textbook", "descend", "--steps", 300, *flags)
        assert code == 0
        return out.splitlines()[1]

    assert "diverged after" in said("--rule", "sgd", "--lr", 0.1)
    assert "goal not reached in 300 steps; f =" in said("--rule", "sgd", "--lr", 1e-3)
    assert "momentum, lr 0.001, beta 0.9: goal reached" in said("--lr", 1e-3, "--beta", 0.9)
    assert said("--lr", 1e-3, "--noise", 1) != said("--lr", 1e-3, "--noise", 1, "--seed", 1)


@pytest.mark.parametrize(
    ("flags", "piece"),
    [
        (["--rule", "momentom"], "Perhaps you meant: momentum"),
        (["--on", "canyon"], "unknown 'canyon'"),
        (["--rule", "sgd", "--beta", "0.5"], "sgd has no beta"),
        (["--beta", "1"], "Expected 0 to below 1"),
        (["--steps", "0"], "must be above 0"),
        (["--lr", "-1"], "must be above 0"),
        (["--lr", "nan"], "must be above 0"),
        (["--noise", "inf"], "--noise"),
        (["--seed", "-1"], "--seed"),
        (["--svg", ""], "cannot write"),
    ],
)
def test_descend_refuses(striate_cli, flags, piece):
    code, _, err = striate_cli("textbook", "descend", *flags)
    assert (code, piece in err) == (2, True), err


def test_layers_of_a_spec(striate_cli):
    spec = "conv 5x5 10 pad 2, relu, pool 3 stride 2, fc 10"
    code, out, _ = striate_cli("layers", spec, "--input", "3x32x32")
    assert code == 0
    assert "760" in out
    assert "the stride leaves 1 row and 1 column at the border unseen" in out
    assert "a unit of the last map sees 7 pixels; its neighbour 2 further on" in out
    code, out, _ = striate_cli("layers", spec, "--input", "3x32x32", "--json")
    said = json.loads(out)
    assert [row["output"] for row in said["layers"]][:3] == [
        [10, 32, 32],
        [10, 32, 32],
        [10, 15, 15],
    ]
    assert said["layers"][0]["parameters"] == 760
    assert said["layers"][2]["receptive_field"] == [7, 7]
    assert said["layers"][2]["dropped"] == [1, 1]
    assert said["total"]["macs"] == 10 * 32 * 32 * 75 + 10 * 15 * 15 * 10


def test_layers_of_the_zoo(striate_cli, tmp_path):
    code, out, _ = striate_cli("layers", "resnet50", "--input", "3x224x224", "--json")
    total = json.loads(out)["total"]
    assert (code, total["parameters"], round(total["macs"] / 1e9, 1)) == (0, 25_557_032, 4.1)
    code, out, _ = striate_cli("layers", "vgg16")
    assert (code, "138,357,544 parameters (553.4 MB)" in out) == (0, True)
    (tmp_path / "misfits.py").write_text(
        "from torch import nn\ndef tiny(num_classes):\n    return nn.Linear(4, num_classes)\n"
    )
    code, _, err = striate_cli("layers", "misfits:tiny", "--input", "3x8x8")
    assert (code, "does not take 8×8 images: layer Linear" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (["resnt50"], "Perhaps you meant: resnet50"),
        (["resnet50", "--input", "224"], "Expected CxHxW"),
        (["resnet50", "--input", "0x4x4"], "Expected CxHxW"),
        (["vgg16", "--input", "3x16x16"], "the map collapses at layer"),
        (["resnet18", "--input", "1x64x64"], "resnet18 does not take 64×64 images"),
        (["conv 3x3, fc 2"], "lacks its out_channels"),
        (["lenet", "--small-stem"], "does not take small_stem"),
        (["lenet", "--classes", "-3"], "--classes -3"),
        (["lenet", "--input", "3x9999999999x3"], "Expected CxHxW"),
        (["resnet 50"], "Perhaps you meant: resnet50"),
        ([":x"], ":x: importing"),
        (["faulty:net"], "importing faulty raised ZeroDivisionError"),
        (["raises:net"], "KeyError: 'gone' ("),
    ],
)
def test_layers_refuses(striate_cli, tmp_path, arguments, piece):
    (tmp_path / "faulty.py").write_text("1 / 0")
    (tmp_path / "raises.py").write_text("def net(num_classes):\n    return {}['gone']")
    code, _, err = striate_cli("layers", *arguments)
    assert (code, piece in err, "Traceback" in err) == (2, True, False), err


WRONG = """
import torch

class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, g):
        return g * 2 * ctx.saved_tensors[0] ** 2
"""


def test_gradcheck(striate_cli, tmp_path):
    code, out, _ = striate_cli("gradcheck", CONV, "--input", "2x2x5x5")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["pass", "input:"], ["pass", "weight:"], ["pass", "bias:"]
    ]  # fmt: skip
    (tmp_path / "wrong.py").write_text(WRONG)
    code, out, _ = striate_cli("gradcheck", "wrong:Cube", "--input", "3x4")
    assert code == 1
    assert out.startswith("fail  input: 12 of 12 entries differ, most at (")
    code, out, _ = striate_cli("gradcheck", "wrong:Cube", "--input", "3x4", "--json")
    (finding,) = json.loads(out)
    assert (code, finding["verdict"], finding["evidence"]["tensor"]) == (1, "fail", "input")
    code, out, _ = striate_cli(
        "gradcheck", "torch.nn.functional:cross_entropy", "--input", "4x10", "--input", "4:int10"
    )
    assert (code, out.split()[0]) == (0, "pass")


@pytest.mark.parametrize(
    ("target", "flags", "piece"),
    [
        ("torch:tanh", ["--input", "8:10"], "is no shape"),
        ("torch:tanh", ["--input", "3:int4"], "no real input"),
        ("torch:tanh", ["--input", "²x3"], "is no shape"),
        ("torch:tanh", ["--input", "99999x99999x9999"], "more than 100,000,000 entries"),
        ("torch:tanh", ["--input", "3", "--limit", "0"], "--limit 0"),
        ("torch:tanh", ["--input", "3", "--seed", "-1"], "--seed -1"),
        (":f", ["--input", "3"], "names nothing to check"),
        (".mods:f", ["--input", "3"], "names nothing to check"),
        ("torch.nn:Linear(-3, 2)", ["--input", "3"], "Write its arguments out"),
        ("torch.nn:Linear(3, 2)(3, 7)", ["--input", "3"], "more than one pair of brackets"),
        ("torch.nn:Linear(3, 2, **{'bias': False})", ["--input", "3"], "** is not understood"),
        ("striate.textbook.layers:Linear(0, 2)", ["--input", "3"], "Write its arguments out"),
        ("striate.textbook.layers:Conv2d(3, 2, 1, stride=0)", ["--input", "1x3x4x4"], "raises"),
        ("striate.textbook.layers:Tanh", ["--input", "2", "--input", "3"], "takes one input"),
        ("torch:__version__", ["--input", "2"], "cannot be called"),
        ("torch:is_tensor", ["--input", "2"], "gives no real numbers but bool"),
        ("odd:f", ["--input", "2"], "odd.py, line 2"),
        ("odd2:f", ["--input", "2"], "odd2 cannot be imported"),
    ],
)
def test_gradcheck_refuses_what_cannot_be_checked(striate_cli, tmp_path, target, flags, piece):
    """A script must be able to tell a wrong call (2) from a wrong gradient (1)."""
    (tmp_path / "odd.py").write_text("def f(x):\n    return {}['gone']")
    (tmp_path / "odd2.py").write_text("def f(:")
    code, out, err = striate_cli("gradcheck", target, *flags)
    assert (code, piece in err, "Traceback" in err) == (2, True, False), (out, err)


def test_gradcheck_refuses(striate_cli):
    code, _, err = striate_cli("gradcheck", CONV)
    assert (code, "no --input" in err) == (2, True)
    code, _, err = striate_cli("gradcheck", CONV, "--input", "2x3x5x5")
    assert (code, "called on 2x3x5x5 it raises" in err, "Traceback" in err) == (2, True, False)


def test_help_and_misspelt_actions(striate_cli):
    code, out, _ = striate_cli("textbook")
    assert (code, "graph" in out and "descend" in out) == (0, True)
    code, _, err = striate_cli("textbook", "grap")
    assert (code, "Perhaps you meant: graph" in err) == (2, True)
    for verb in (("textbook", "graph"), ("textbook", "train"), ("layers",), ("gradcheck",)):
        code, out, _ = striate_cli(*verb, "--help")
        assert (code, "usage" in out.lower()) == (0, True)


def test_a_spec_trains_in_the_main_job(striate_cli, trained):
    """One-line networks are models everywhere."""
    code, out, err = striate_cli(
        "train", trained[1], "--model", "conv 3x3 8, relu, gap, fc classes", "--epochs", 1,
        "--image-size", 16, "--batch-size", 8, "--augment.flip", "False", "--run", "r",
    )  # fmt: skip
    assert code == 0, err
    assert "conv 3x3 8, relu, gap, fc classes: 251 parameters" in out
    code, _, err = striate_cli(
        "train", trained[1], "--model", "conv 3x3 8, relu, fc 7", "--epochs", 1
    )
    assert (code, "expected (" in err) == (2, True)
