"""Weights outside a training: the zoo, maps, audits, searches, reports and certificates."""

import json

import numpy as np
import pytest

import striate
from striate.audit.check import check
from striate.core.errors import ModelError
from striate.core.recipe import Recipe
from striate.core.recipe_io import with_overrides
from striate.core.space import DEFAULT_SPACE, default_space
from striate.plan.extract import open_extractor
from striate.training.log import drained
from tests.conftest import STAGED, write_colours

KNOBS = {
    "batch_size": 8, "image_size": 16, "augment.flip": False, "device.precision": "float32",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_zoo(tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_ZOO", str(tmp_path / "zoo"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("data") / "colours", train=30, test=8)


@pytest.fixture(scope="module")
def donor(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("donor") / "run"
    striate.train(
        data, run=folder, model=STAGED, epochs=4, lr=0.01, **KNOBS, **{"report.write": False}
    )
    return folder


def test_the_zoo_lists_what_is_here(striate_cli):
    code, out, err = striate_cli("zoo")
    assert code == 0, err
    for name in ("lite0", "lite1", "lite2", "torchvision:ResNet18_Weights.IMAGENET1K_V1"):
        assert name in out
    assert "Apache-2.0" in out
    code, out, _ = striate_cli("zoo", "--json")
    rows = json.loads(out.splitlines()[-1])["weights"]
    assert {"name", "licence", "source", "accuracy", "image_size", "normalisation", "file"} <= set(
        rows[0]
    )


def test_a_run_in_the_zoo_can_be_started_from(data, donor, striate_cli):
    code, out, err = striate_cli("zoo", "add", donor, "--name", "colours-1")
    assert code == 0, err
    assert "striate train DATA --weights colours-1" in out
    code, out, _ = striate_cli("zoo", "show", "colours-1")
    assert code == 0
    assert "0.weight" in out
    code, out, err = striate_cli(
        "train", data, "--weights", "colours-1", "--epochs", 1, "--run", "again", "--batch-size", 8,
        "--augment.flip", "False",
    )  # fmt: skip
    assert code == 0, err
    assert "weights: " in out
    code, _, err = striate_cli("zoo", "add", donor, "--name", "colours-1")
    assert code == 2
    assert "there already" in err
    code, _, err = striate_cli("zoo", "add", donor, "--name", "../evil")
    assert code == 2
    assert "cannot name weights" in err
    assert [entry.card.name for entry in striate.list_weights()][-1] == "colours-1"


def test_what_the_zoo_does_not_know(striate_cli):
    code, _, err = striate_cli("zoo", "shwo", "lite0")
    assert code == 2
    assert "Perhaps you meant: show" in err
    code, _, err = striate_cli("zoo", "show", "lite9")
    assert code == 2
    assert "no weights are called 'lite9'" in err


def test_features_of_an_image_do_not_depend_on_the_others(donor):
    extractor = open_extractor(str(donor))
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    together = extractor.features(images)
    assert together.shape == (20, 12)
    for i in (0, 7, 19):
        assert np.array_equal(extractor.features(images[i : i + 1])[0], together[i])


def test_a_map_by_weights(data, donor, striate_cli):
    found = striate.make_map([data], by=str(donor), method="pca")
    assert "what" in found.by
    assert "predicted" not in found.points.columns
    code, _, err = striate_cli("map", data, "--weights", donor, "--method", "pca")
    assert code == 0, err
    code, _, err = striate_cli("map", data, "--weights", donor, "--run", donor)
    assert code == 2
    assert "both given" in err


def test_an_audit_by_weights_finds_a_wrong_label_and_an_altered_copy(data, donor, tmp_path):
    from PIL import Image, ImageEnhance

    wrong = tmp_path / "wrong"
    for file in data.rglob("*.png"):
        target = wrong / file.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (wrong / "train" / "red" / "0.png").rename(wrong / "train" / "blue" / "moved.png")
    with Image.open(wrong / "train" / "green" / "1.png") as image:
        ImageEnhance.Brightness(image).enhance(1.02).save(wrong / "test" / "green" / "like.png")
    found = drained(check(str(wrong), Recipe(), weights=str(donor)))
    by_rule = {finding.rule: finding for finding in found.findings}
    doubtful = "\n".join(by_rule["doubtful labels"].evidence["images"])
    assert "moved.png" in doubtful
    shown = [row.image for row in found.rows] + by_rule["alike images"].evidence.get("images", [])
    assert any("like.png" in text for text in map(str, shown)) or by_rule.get("altered copies")


def test_the_default_search_varies_depth_and_rates(donor):
    plain = default_space(Recipe())
    assert plain == DEFAULT_SPACE
    started = default_space(with_overrides(Recipe(), {"model.weights": str(donor)}))
    assert {"model.freeze", "optim.backbone_rate"} <= set(started)


def test_a_search_over_depth(data, donor, tmp_path):
    pytest.importorskip("optuna")
    records = list(
        striate.stream_search(
            data, study=tmp_path / "study", weights=str(donor), trials=3, epochs=1,
            space={"model.freeze": "0,1,backbone", "optim.backbone_rate": "0.1..1"}, **KNOBS,
            **{"report.write": False},
        )
    )  # fmt: skip
    assert records
    tried = [striate.Run(path.parent).recipe for path in (tmp_path / "study").glob("*/recipe.yaml")]
    assert len(tried) >= 3
    assert all(0.1 <= recipe.optim.backbone_rate <= 1 for recipe in tried)


def test_report_card_and_certificate_name_the_weights(data, donor, tmp_path):
    run = striate.train(data, run=tmp_path / "run", weights=str(donor), epochs=1, **KNOBS)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "their tensors were taken" in page
    assert "licence: yours" in page
    from striate.api.certify import certify, verify

    certificate = certify(run.path)
    assert certificate["started_from"]["sha256"]
    assert all(found.verdict in ("pass", "note") for found in verify(run.path, steps=4))


def test_explanations_of_a_network_that_was_started_from_weights(data, donor, tmp_path):
    run = striate.train(data, run=tmp_path / "run", weights=str(donor), freeze=2, epochs=1,
                        **KNOBS, **{"report.write": False})  # fmt: skip
    found = striate.explain_run(run)
    assert found is not None


def test_weights_that_are_not_here(monkeypatch, tmp_path):
    for name in ("STRIATE_WEIGHTS", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with pytest.raises(ModelError, match="lite2"):
        open_extractor("lite2")
