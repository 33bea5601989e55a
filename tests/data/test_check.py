"""Copies, findings of a survey, exclusion, changes since a run, damaged files (F7–F13)."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

import striate
from striate.audit.check import check, check_run
from striate.core.errors import DataError, RunError
from striate.data.check.duplicates import (
    TURNS,
    candidates,
    compare,
    describe,
    turned_looks,
    turned_pixels,
)
from striate.data.check.exclude import read_excluded
from striate.data.check.survey import survey
from striate.data.decode import Unified, resized, resized_all
from striate.data.images import ArrayImages
from striate.training.log import drained
from tests.conftest import COLOURS, QUICK, encoded, picture, write_tree

RNG = np.random.default_rng(0)
SMALL = Unified(16, 3, "squash", 100)


def scene(seed, size=(48, 40)):
    """A picture with shapes, unlike any other seed's."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def reencoded(pixels, scale, quality):
    image = Image.fromarray(pixels)
    size = (round(image.width * scale), round(image.height * scale))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.fixture
def scenes(tmp_path):
    """Splits of pictures of three classes; the classes mean nothing."""
    root = tmp_path / "scenes"
    seed = 0
    for split, count in (("train", 8), ("val", 3), ("test", 3)):
        for name in "abc":
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(scene(seed)).save(root / split / name / f"{i}.png")
                seed += 1
    return root


def found_in(root, **options):
    return drained(check(str(root), models=False, **options))


def rules(found, verdict=None):
    return {f.rule for f in found.findings if verdict in (None, f.verdict)}


class TestDescriptors:
    def test_length_one_and_blind_to_brightness(self):
        thumbs = RNG.integers(0, 256, (20, 32, 32)).astype(float)
        looks = describe(thumbs).astype(float)
        np.testing.assert_allclose(np.linalg.norm(looks, axis=1), 1, atol=2e-3)
        np.testing.assert_allclose(describe(thumbs * 0.5 + 40), looks, atol=2e-3)
        assert not describe(np.full((1, 32, 32), 90.0)).any()

    def test_they_are_a_cosine_transform(self):
        from scipy.fft import dctn

        thumb = RNG.random((32, 32)) * 255
        expected = dctn(thumb, norm="ortho")[:8, :8].ravel()[1:]
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(describe(thumb[None])[0], expected, atol=1e-3)

    @pytest.mark.parametrize("turn", TURNS)
    def test_turning_the_descriptor_is_turning_the_image(self, turn):
        thumbs = RNG.integers(0, 256, (5, 32, 32), dtype=np.uint8)
        turned = np.stack([turned_pixels(t[..., None], turn)[..., 0] for t in thumbs])
        expected = describe(turned.astype(float))
        np.testing.assert_allclose(
            turned_looks(describe(thumbs.astype(float)), turn), expected, atol=2e-3
        )

    def test_candidates_are_all_pairs_above_the_cosine(self):
        base = RNG.normal(size=(60, 63))
        looks = np.concatenate([base, base[:20] + 0.01 * RNG.normal(size=(20, 63))])
        looks = (looks / np.linalg.norm(looks, axis=1, keepdims=True)).astype(np.float16)
        cosines = looks.astype(np.float32) @ looks.astype(np.float32).T
        expected = {(i, j) for i, j in zip(*np.nonzero(cosines > 0.995), strict=True) if i < j}
        assert {tuple(p) for block in candidates(looks) for p in block.tolist()} == expected
        assert len(expected) >= 20
        across = {tuple(p) for block in candidates(looks[60:], looks[:60]) for p in block.tolist()}
        assert across == {(j - 60, i) for i, j in expected}


class TestCompare:
    @pytest.mark.parametrize("scale", [0.75, 1.0, 1.5])
    def test_copies_are_near(self, scale):
        kinds = [compare(scene(s), reencoded(scene(s), scale, 80))[0] for s in range(20)]
        assert kinds.count("near") >= 19

    def test_others_are_not(self):
        assert compare(scene(1), scene(2))[0] is None
        assert compare(scene(1), scene(1)) == ("exact", 0.0)
        assert compare(scene(1), scene(1, (96, 40)))[0] is None  # other proportions

    def test_tiny_images_are_compared_for_equality_only(self):
        tiny = RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8)
        assert compare(tiny, tiny)[0] == "exact"
        assert compare(tiny, tiny // 2)[0] is None


def test_batches_are_resized_as_single_images():
    for shape in ((7, 20, 31, 3), (5, 28, 28, 1)):
        images = RNG.integers(0, 256, shape, dtype=np.uint8)
        single = np.stack([resized(image, 32, 32) for image in images])
        np.testing.assert_allclose(resized_all(images, 32, 32), single, atol=1)


class TestLeakage:
    def test_exact_across_given_splits_stops(self, scenes):
        copy = scenes / "test" / "b" / "copy.png"
        copy.write_bytes((scenes / "train" / "a" / "1.png").read_bytes())
        with pytest.raises(DataError) as error:
            striate.train(scenes, **QUICK)
        for piece in ("1 pair of pixel-identical", "train/a/1.png = test", "copy.png",
                      "1 with different labels", "--allow leakage"):  # fmt: skip
            assert piece in str(error.value)

    def test_other_bytes_equal_pixels(self, scenes):
        pixels = np.asarray(Image.open(scenes / "train" / "a" / "1.png"))
        Image.fromarray(pixels).save(scenes / "val" / "a" / "copy.bmp")
        with pytest.raises(DataError, match="pixel-identical"):
            striate.train(scenes, **QUICK)

    def test_allowed_is_recorded(self, scenes, tmp_path):
        (scenes / "test" / "a" / "copy.png").write_bytes((scenes / "train/a/1.png").read_bytes())
        run = striate.train(scenes, run=tmp_path / "run", allow=("leakage",), **QUICK)
        found = run.read_json("dataset.json")["findings"]
        assert any(f["rule"] == "exact copies across splits" for f in found)
        assert run.recipe.data.allow == ("leakage",)

    def test_near_across_splits_warns(self, scenes, tmp_path):
        pixels = np.asarray(Image.open(scenes / "train" / "a" / "1.png"))
        Image.fromarray(pixels).save(scenes / "test" / "a" / "near.jpg", quality=85)
        records = list(striate.stream(scenes, run=tmp_path / "run", **QUICK))
        notes = [r.text for r in records if getattr(r, "level", "") == "warning"]
        assert any("near-identical" in n and "near.jpg" in n for n in notes)

    def test_copies_in_splits_that_we_made_are_left_out(self, tmp_path):
        """A held-out copy of a training image is no fault of the user's, so it is not scored."""
        root = tmp_path / "data"
        for name, first in (("a", 0), ("b", 100)):
            (root / name).mkdir(parents=True)
            for i in range(20):
                for copy in "xy" if i % 4 == 0 else "x":
                    image = Image.fromarray(scene(first + i))
                    image.save(root / name / f"{i}{copy}.png")
        records = list(striate.stream(root, run=tmp_path / "run", **QUICK))
        assert any("pixel-identical to others and were left out" in getattr(r, "text", "")
                   for r in records)  # fmt: skip
        images = striate.Run(tmp_path / "run").read_json("dataset.json")["splits"]
        assert images["train"]["images"] > images["val"]["images"] > 0

    def test_within_and_across_of_every_kind(self, scenes):
        pixels = np.asarray(Image.open(scenes / "train" / "a" / "1.png"))
        Image.fromarray(pixels).save(scenes / "train" / "a" / "again.png", compress_level=1)
        Image.fromarray(pixels[:, ::-1]).save(scenes / "val" / "a" / "mirrored.png")
        found = found_in(scenes)
        assert "exact copies in one split" in rules(found, "warn")
        assert not {r for r in rules(found) if "across" in r}
        turned = found_in(scenes, turned=True)
        assert "exact copies across splits" in rules(turned, "fail")
        assert "mirrored" in next(f.text for f in turned.findings if "across" in f.rule)

    def test_different_digits_are_not_copies(self, real_data):
        """629 test digits share a 64-bit hash with a training digit; none is a copy."""
        from striate.data.sources import open_source

        parts = open_source(real_data / "mnist").parts
        images = ArrayImages(parts["test"].images.array[:3000])
        looks = survey(images, Unified(28, 1, "crop", 100)).looks
        pairs = np.concatenate(list(candidates(looks)))
        kinds = [compare(images.pixels(i, 1), images.pixels(j, 1))[0] for i, j in pairs.tolist()]
        assert len(pairs)
        assert not any(kinds)


class TestFindings:
    def test_a_clean_set(self, scenes):
        found = found_in(scenes)
        assert found.verdict == "note"
        assert "bad images" in rules(found, "pass")

    def test_all_that_is_odd(self, scenes):
        a = scenes / "train" / "a"
        Image.new("RGB", (30, 30), (9, 9, 9)).save(a / "constant.png")
        Image.fromarray(scene(900)[:5, :5]).save(a / "tiny.png")
        Image.fromarray(scene(901)).convert("L").save(a / "grey.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(scene(902)).save(a / "turned.jpg", exif=exif)
        (a / "broken.jpg").write_bytes(b"\xff\xd8\xff no jpeg")
        (a / "empty.png").write_bytes(b"")
        Image.fromarray(scene(903)).save(a / "moves.gif", save_all=True,
                                         append_images=[Image.fromarray(scene(904))])  # fmt: skip
        found = found_in(scenes)
        expected = {"constant images": "warn", "tiny images": "warn", "grey images": "note",
                    "rotated": "note", "bad images": "fail", "animated": "warn"}  # fmt: skip
        verdicts = {f.rule: f.verdict for f in found.findings}
        assert expected.items() <= verdicts.items()
        texts = "\n".join(f.text for f in found.findings)
        for name in ("constant.png", "tiny.png", "broken.jpg", "empty.png"):
            assert name in texts
        assert found.verdict == "fail"

    def test_metadata_that_tells_the_class(self, tmp_path):
        for name, size in (("cat", (40, 30)), ("dog", (32, 32))):
            (tmp_path / name).mkdir()
            for i in range(15):
                Image.fromarray(scene(i + 50 * (name == "dog"), size)).save(
                    tmp_path / name / f"{i}.png"
                )
        finding = next(f for f in found_in(tmp_path).findings if f.rule == "telling metadata")
        assert finding.verdict == "warn"
        assert set(finding.evidence["classes"]) == {"cat", "dog"}
        assert finding.evidence["accuracy"] > 0.9

    def test_imbalance_and_unlike_shares(self, tmp_path):
        counts = {"train/a": 400, "train/b": 20, "test/a": 40, "test/b": 40}
        root = write_tree(tmp_path, counts, (12, 12))
        verdicts = {f.rule: f for f in found_in(root).findings}
        assert verdicts["class balance"].verdict == "warn"
        assert (
            "20 (b) to" in verdicts["class balance"].text or "(b)" in verdicts["class balance"].text
        )
        assert verdicts["class shares"].evidence["split"] == "test"

    def test_an_unknown_class_fails_and_the_rest_is_checked(self, scenes):
        (scenes / "val" / "d").mkdir()
        Image.fromarray(scene(700)).save(scenes / "val" / "d" / "x.png")
        (scenes / "train" / "a" / "bad.png").write_bytes(b"x")
        found = found_in(scenes)
        assert {"unknown class", "bad images"} <= rules(found, "fail")

    def test_sample_looks_at_some_only(self, scenes):
        from striate.core.recipe import Data, Recipe

        found = found_in(scenes, recipe=Recipe(data=Data(check="sample")))
        assert found.verdict == "note"


class TestExclude:
    def test_round_trip(self, scenes, tmp_path, striate_cli):
        (scenes / "train" / "a" / "bad.png").write_bytes(b"x")
        (scenes / "test" / "a" / "copy.png").write_bytes((scenes / "train/a/1.png").read_bytes())
        table = tmp_path / "audit.csv"
        code, out, _ = striate_cli("data", "check", scenes, "--quick", "--csv", table)
        assert code == 1
        assert "2 questionable images" in out
        assert set(read_excluded(str(table))) == {
            ("train", "train/a/bad.png"), ("test", "test/a/copy.png"),
        }  # fmt: skip
        run = striate.train(scenes, run=tmp_path / "run", exclude=str(table), **QUICK)
        assert run.read_json("dataset.json")["splits"]["train"]["images"] == 24
        assert run.evaluate()["accuracy"] >= 0

    @pytest.mark.parametrize(
        ("text", "piece"),
        [
            ("exclude,image\nperhaps,x.png\n", "line 2: exclude is 'perhaps'"),
            ("a,b\n1,2\n", "Expected exclude and image"),
        ],
    )
    def test_wrong_files(self, text, piece, tmp_path):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(DataError, match=piece):
            read_excluded(str(tmp_path / "x.csv"))

    def test_unknown_names_are_counted(self, scenes, tmp_path):
        (tmp_path / "x.csv").write_text("exclude,image\nyes,nowhere.png\n")
        records = list(striate.stream(scenes, run=tmp_path / "run", exclude=str(tmp_path / "x.csv"),
                                      **QUICK))  # fmt: skip
        assert any("1 name of data.exclude not found" in getattr(r, "text", "")
                   for r in records)  # fmt: skip


class TestChanges:
    def test_every_change_is_named(self, scenes, tmp_path, striate_cli):
        """F8: damage that decodes is found by the hashes of the run."""
        striate.train(scenes, run=tmp_path / "run", **QUICK)
        assert striate_cli("data", "check", tmp_path / "run")[0] == 0
        files = sorted(scenes.rglob("*.png"))
        for path in files[::2]:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            times = path.stat()
            path.write_bytes(data)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        files[1].unlink()
        Image.fromarray(scene(800)).save(scenes / "train" / "a" / "new.png")
        found = check_run(tmp_path / "run")
        verdicts = {f.rule: f for f in found.findings}
        assert len(verdicts["changed images"].evidence["images"]) == len(files[::2])
        assert len(verdicts["missing images"].evidence["images"]) == 1
        assert verdicts["other images"].evidence["images"] == ["train/a/new.png"]
        assert striate_cli("data", "check", tmp_path / "run")[0] == 1

    def test_damaged_register(self, scenes, tmp_path):
        striate.train(scenes, run=tmp_path / "run", **QUICK)
        (tmp_path / "run" / "images.csv.gz").write_bytes(b"no")
        with pytest.raises(RunError, match="damaged"):
            check_run(tmp_path / "run")


def test_json_and_pictures(scenes, tmp_path, striate_cli):
    import json

    (scenes / "test" / "a" / "copy.png").write_bytes((scenes / "train/a/1.png").read_bytes())
    code, out, err = striate_cli(
        "data", "check", scenes, "--quick", "--json", "--png", tmp_path / "x.png"
    )
    said = json.loads(out.splitlines()[-1])
    assert code == 1
    assert said["verdict"] == "fail"
    assert said["splits"] == {"train": 24, "val": 9, "test": 10}
    assert any(f["rule"] == "exact copies across splits" for f in said["findings"])
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.width > 100
    assert "decoding 43 images" in err
    assert striate_cli("data", "check", scenes, "--quick", "--allow", "leakage")[0] == 0


MAKERS = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif",
    "PPM": ".ppm",
}  # fmt: skip


def mutated(data, rng):
    """A cut, a flipped byte, a removed or doubled piece."""
    data = bytearray(data)
    kind, at = rng.integers(4), int(rng.integers(1, len(data)))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        return bytes(data)
    size = int(rng.integers(1, 40))
    return bytes(data[:at] + (data[at + size :] if kind == 2 else data[at - size : at] * 2
                              + data[at:]))  # fmt: skip


@pytest.mark.parametrize("form", MAKERS)
def test_damaged_files_never_crash(form, tmp_path):
    """F7: a few of the thousands that `make chaos` tries."""
    rng = np.random.default_rng(zip(MAKERS, range(9), strict=False).__next__()[1])
    good = encoded(picture((90, 120, 40), (30, 20)), form)
    folder = tmp_path / "a"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i}{MAKERS[form]}").write_bytes(mutated(good, rng))
    before = {p: p.read_bytes() for p in folder.iterdir()}
    from striate.data.sources.pictures import open_pictures

    images = open_pictures([folder])
    found = survey(images, SMALL)
    assert found.seen.all()
    assert set(found.faults) == set(np.flatnonzero(~found.good).tolist())
    assert all(found.faults.values())
    assert before == {p: p.read_bytes() for p in folder.iterdir()}


def test_damaged_zip_members(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in COLOURS:
            for i in range(4):
                archive.writestr(f"{name}/{i}.png", encoded(picture(COLOURS[name], seed=i)))
    good = path.read_bytes()
    from striate.data.sources.pictures import open_pictures

    for _ in range(60):
        path.write_bytes(mutated(good, rng))
        try:
            survey(open_pictures([path]), SMALL)
        except DataError as error:
            assert str(path.name) in str(error)
