"""Copies that somebody has changed are found; pictures that are only alike are not."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

SIDE = 64


def scene(seed):
    """A picture with large and small shapes: smoothed noise of several scales, tinted."""
    rng = np.random.default_rng(seed)
    layers = [
        gaussian_filter(rng.normal(size=(SIDE, SIDE, 3)), (s, s, 2)) * s for s in (1, 2, 4, 9)
    ]
    x = sum(layers)
    x = (x - x.min()) / (x.max() - x.min())
    return Image.fromarray((255 * x).astype(np.uint8))


def marked(image):
    image = image.copy()
    ImageDraw.Draw(image).rectangle((40, 50, 62, 60), fill=(255, 255, 0))
    return image


ALTERED = {
    "cropped": lambda im: im.crop((3, 4, 61, 60)),
    "framed": lambda im: ImageOps.expand(im, 2, (255, 255, 255)),
    "brighter": lambda im: ImageEnhance.Brightness(im).enhance(1.3),
    "marked": marked,
    "halved": lambda im: im.resize((32, 32)),
    "grey": lambda im: im.convert("L").convert("RGB"),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """140 training pictures, of which a few become validation; 46 of 58 test pictures are altered
    ones of these."""
    root = tmp_path_factory.mktemp("altered") / "data"
    for split, first, count in (("train", 0, 140), ("test", 1000, 12)):
        for i in range(count):
            folder = root / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            scene(first + i).save(folder / f"{i}.png")
    for number, (kind, alter) in enumerate(ALTERED.items()):
        alter(scene(2 * number)).save(root / "test" / "a" / f"{kind}.png")
    for i in range(60, 140, 2):
        ALTERED["cropped"](scene(i)).save(root / "test" / "a" / f"cut{i}.png")
    return root


def test_altered_copies_are_found_and_nothing_else(planted, striate_cli):
    _, out, _ = striate_cli("data", "check", planted, "--quick", "--csv", planted.parent / "c.csv")
    pairs = re.findall(r"(?:train|val) \S+/(\d+)\.png = test \S+/(\w+)\.png", out)
    listed = (planted.parent / "c.csv").read_text()
    missed = [kind for kind in ALTERED if f"{kind}.png" not in listed]
    missed += [i for i in range(60, 140, 2) if f"cut{i}.png" not in listed]
    assert missed == [], out
    true = {kind: str(2 * number) for number, kind in enumerate(ALTERED)}
    true |= {f"cut{i}": str(i) for i in range(60, 140, 2)}
    assert pairs
    assert all(true.get(copy) == original for original, copy in pairs), out
