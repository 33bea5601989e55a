"""The report of a run: what it says, what it survives, and that names are only names (F21)."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

import striate
from striate.core.errors import DataError, RunError
from striate.core.recipe_io import set_knob
from striate.core.records import Note
from striate.report.in_words import in_words
from tests.conftest import QUICK as WITHOUT_REPORT
from tests.conftest import STAGED, encoded, picture

QUICK = {**WITHOUT_REPORT, "report.write": True}

EVIL = ["<img src=x onerror=hacked()>", '"><script>hacked()<', "a|b`*c*`"]
"""Names of classes that are code somewhere. (A slash cannot be in a folder's name.)"""


class Checked(HTMLParser):
    """Tags that are opened and closed in order; addresses; images without words."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "line", "circle", "path", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.silent, self.tags = [], set(), [], 0, []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.tags.append(tag)
        self.ids.add(known.get("id"))
        if tag == "a":
            self.links.append(known["href"])
        if tag == "img":
            assert known["src"].startswith("data:image/webp;base64,"), known["src"][:40]
            self.silent += not known.get("alt")
        assert not any(name.startswith("on") for name in known), known
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def checked(text):
    page = Checked()
    page.feed(text)
    assert not page.open
    assert not page.silent
    assert {link.removeprefix("#") for link in page.links} <= page.ids
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text
    assert len(text) < 5_000_000
    return page


def test_a_training_leaves_its_report(trained):
    text = (trained[0] / "report.html").read_text(encoding="utf-8")
    checked(text)
    for part in ("red", "blue", "Recipe", "healthy", "accuracy", "striate predict", "fastnet"):
        assert part in text
    figures = json.loads((trained[0] / "scores.json").read_text())["test"]
    assert f"{figures['accuracy']:.3f}" in text
    assert "could not be written" not in (trained[0] / "records.jsonl").read_text()
    assert json.loads((trained[0] / "cost.json").read_text())["seconds"] > 0


def test_the_report_of_a_run_is_the_one_that_training_wrote(trained):
    """But for the time, and pictures of other training images."""
    texts = [(trained[0] / "report.html").read_text(), striate.Run(trained[0]).report()]
    plain = [re.sub(r"data:image/webp;base64,[^\"]*|written [-0-9: ]*", "", t) for t in texts]
    tables = [re.findall(r"<t[dh][^>]*>.*?</t[dh]>", text) for text in plain]
    assert tables[0] == tables[1]


def test_forms(trained):
    run = striate.Run(trained[0])
    values = json.loads(run.report("json"))
    assert values["headline"]["value"] == 1.0
    assert values["confusion"]["table"] == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert values["data"]["splits"]["train"]["images"] == 36
    assert len(values["curves"]) == 25
    assert {"recall", "precision", "average_precision"} <= values["class_curves"][0].keys()
    card = run.report("md")
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert "| accuracy | 1.000 |" in card
    for table in re.split(r"\n\n+", card):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        widths = {line.replace(r"\|", "").count("|") for line in lines}
        assert len(widths) <= 1, lines[:3]
    assert len(rows) > 30
    with pytest.raises(RunError, match="no form of report 'pdf'"):
        run.report("pdf")


def test_names_are_inert(tmp_path):
    root = tmp_path / "<b>data"
    for number, name in enumerate(EVIL):
        for split, count in (("train", 8), ("val", 3), ("test", 3)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed = 100 * number + 10 * i + len(split)
                colour = np.eye(3)[number] * 200
                (folder / f"<i>{i}.png").write_bytes(encoded(picture(colour, seed=seed)))
    run = striate.train(root, run=tmp_path / "run", **QUICK)
    for text in ((tmp_path / "run" / "report.html").read_text(), run.report()):
        page = checked(text)
        assert page.tags.count("script") == 1
        assert page.tags.count("b") < 12
        assert "hacked()>" not in text
        assert "&lt;img src=x onerror=hacked()&gt;" in text
    card = run.report("md")
    assert "<img" not in card
    assert r"a\|b\`\*c\*\`" in card


def test_several_labels(tmp_path):
    lines = ["image,label"]
    for i in range(36):
        red, blue = i % 2, i // 2 % 2
        (tmp_path / f"{i}.png").write_bytes(encoded(picture((200 * red, 40, 200 * blue), seed=i)))
        names = [n for n, is_there in (("red", red), ("blue", blue)) if is_there] or ["none"]
        lines.append(f"{i}.png,{';'.join(names)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    run = striate.train(tmp_path / "labels.csv", run=tmp_path / "run", **QUICK)
    assert run.own_data().kind == "label_sets"
    checked((tmp_path / "run" / "report.html").read_text())
    assert json.loads(run.report("json"))["score"] == "mean_average_precision"


def test_findings_of_a_preflight_are_in_the_report(striate_cli, tree, tmp_path):
    knobs = ("--model", STAGED, "--epochs", "1", "--batch-size", "8", "--image-size", "16")
    code, out, err = striate_cli("preflight", tree, *knobs, "--run", tmp_path / "run")
    assert code in (0, 1), out + err  # so few images may well fail a check
    code, _, err = striate_cli("train", tree, *knobs, "--run", tmp_path / "run")
    assert code == 0, err
    text = (tmp_path / "run" / "report.html").read_text()
    checked(text)
    assert "<h3>Preflight</h3>" in text
    assert "estimate" in text
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    code, _, err = striate_cli("preflight", tree, *knobs, "--run", tmp_path / "mine")
    assert code == 2
    assert "is not empty and not a run" in err


def test_no_report_where_none_is_wanted(tree, tmp_path):
    striate.train(tree, run=tmp_path / "run", **WITHOUT_REPORT)
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_report_that_fails_loses_no_training(tree, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise ValueError("for a test")

    monkeypatch.setattr("striate.report.facts.facts_of", fails)
    records = list(striate.stream(tree, run=tmp_path / "run", **QUICK))
    told = [r.text for r in records if isinstance(r, Note) and "the report" in r.text]
    assert told
    assert "ValueError: for a test" in told[0]
    assert striate.Run(tmp_path / "run").finished


def test_without_its_data(trained, tmp_path, striate_cli):
    """Of a run that was copied to where its data is not; the page of the training stays."""
    shutil.copytree(trained[0], tmp_path / "copy")
    text = (tmp_path / "copy" / "recipe.yaml").read_text()
    (tmp_path / "copy" / "recipe.yaml").write_text(text.replace(str(trained[1]), "/nowhere/data"))
    before = (tmp_path / "copy" / "report.html").read_text()
    code, _, err = striate_cli("report", tmp_path / "copy")
    assert code == 2
    assert "are no longer at /nowhere/data" in err
    assert "--moved DATA" in err
    assert "--files-only" in err
    assert (tmp_path / "copy" / "report.html").read_text() == before
    code, _, err = striate_cli("report", tmp_path / "copy", "--files-only")
    assert code == 0, err
    page = (tmp_path / "copy" / "report.html").read_text()
    checked(page)
    assert "without pictures and figures of classes" in page
    assert "accuracy" in striate.Run(tmp_path / "copy").report("md", files_only=True)


def test_figures_are_those_of_the_split_that_was_asked(trained):
    values = json.loads(striate.Run(trained[0]).report("json", split="train"))
    assert values["headline"]["split"] == "train"
    assert values["headline"]["n"] == 36
    assert sum(map(sum, values["confusion"]["table"])) == 36
    with pytest.raises(DataError, match="no tset split"):
        striate.Run(trained[0]).report(split="tset")


def test_a_test_split_that_is_kept_for_later_is_not_read(tree, tmp_path):
    run = striate.train(tree, run=tmp_path / "run", **QUICK, **{"data.score_test": False})
    assert "test" not in json.loads(run.report("json"))["scores"]
    assert striate.explain_run(run, topics=["filters"]).split == "val"


def test_old_runs_and_splits_with_other_scores(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "old")
    path = tmp_path / "old" / "scores.json"
    scores = json.loads(path.read_text())
    for split in ("train", "val", "test"):
        scores[split].pop("intervals")
        scores[split].pop("intervals_by")
    scores["test"].pop("mean_area_under_roc")
    path.write_text(json.dumps(scores))
    (tmp_path / "old" / "cost.json").unlink()
    for form in ("html", "md"):
        assert "accuracy" in striate.Run(tmp_path / "old").report(form, files_only=True)
        assert "accuracy" in striate.Run(tmp_path / "old").report(form)


def test_before_the_end(tree, tmp_path):
    for record in striate.stream(tree, run=tmp_path / "run", **{**QUICK, "epochs": 20}):
        if type(record).__name__ == "Saved":
            break
    page = striate.Run(tmp_path / "run").report()
    checked(page)
    assert "this training has not ended" in page
    assert "not judged yet" in page


def test_recipes_in_words(trained):
    recipe = striate.Run(trained[0]).recipe
    for knob, value in {"augment.flip": True, "augment.test_views": "ten_crop"}.items():
        recipe = set_knob(recipe, knob, value)
    said = " ".join(in_words(recipe, None))
    assert "fastnet from first weights of its own, on colour images of 16 × 16 pixels" in said
    assert "mirrored with probability 0.5" in said
    assert "ten crops" in said


def test_command(striate_cli, trained, tmp_path):
    code, out, err = striate_cli("report", trained[0], "--format", "md", "--out", "-")
    assert code == 0, err
    assert out.startswith("# run")
    code, out, _ = striate_cli("report", trained[0], "--out", tmp_path / "r.html")
    assert code == 0
    assert out.startswith(str(tmp_path / "r.html"))
    code, _, err = striate_cli("report", trained[0], "--format", "pdf")
    assert code == 2
    code, _, err = striate_cli("report", trained[0], "--out", tmp_path / "no" / "r.html")
    assert code == 2
    assert "cannot write" in err
