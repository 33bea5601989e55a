"""Laws that every augmentation obeys, and what each one does."""

import numpy as np
import pytest

from striate.core.randomness import uniform
from striate.data.augment import (
    AUGMENTATIONS,
    centre,
    cutout,
    flip,
    padded_crop,
    pipeline,
    views_of,
)

STRENGTH = {"flip": 0.5, "pad": 3, "resized": 0.6, "cutout": 6}
FILL = np.array([10.0, 20.0, 30.0])
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


def draws(ids, epoch=0, seed=0):
    return lambda purpose, count: uniform(seed, epoch, purpose, ids, count)


def apply(name, images, strength, **position):
    ids = position.pop("ids", np.arange(len(images)))
    extra = {"fill": FILL[: images.shape[3]]} if name == "cutout" else {}
    return AUGMENTATIONS[name](images, draws(ids, **position), strength, **extra)


def test_every_member_is_tested():
    assert set(STRENGTH) == set(AUGMENTATIONS)


@pytest.mark.parametrize("name", AUGMENTATIONS)
class TestLaws:
    def test_identity_at_strength_zero(self, name):
        np.testing.assert_array_equal(apply(name, IMAGES, 0), IMAGES)

    def test_repeats_for_a_seed_and_differs_between_epochs(self, name):
        first = apply(name, IMAGES, STRENGTH[name])
        np.testing.assert_array_equal(first, apply(name, IMAGES, STRENGTH[name]))
        assert not np.array_equal(first, apply(name, IMAGES, STRENGTH[name], epoch=1))
        assert not np.array_equal(first, apply(name, IMAGES, STRENGTH[name], seed=1))

    def test_independent_of_the_batch(self, name):
        together = apply(name, IMAGES, STRENGTH[name])
        chosen = np.array([31, 4, 17])
        alone = apply(name, IMAGES[chosen], STRENGTH[name], ids=chosen)
        np.testing.assert_array_equal(alone, together[chosen])

    def test_shape_type_and_input_are_kept(self, name):
        before = IMAGES.copy()
        for images in (IMAGES, IMAGES[..., :1]):
            result = apply(name, images, STRENGTH[name])
            assert (result.shape, result.dtype) == (images.shape, np.uint8)
        np.testing.assert_array_equal(IMAGES, before)

    def test_changes_something(self, name):
        changed = (apply(name, IMAGES, STRENGTH[name]) != IMAGES).any(axis=(1, 2, 3))
        assert changed.mean() > 0.3


def test_flip_is_a_mirror():
    np.testing.assert_array_equal(flip(IMAGES, draws(np.arange(40)), 1.0), IMAGES[:, :, ::-1])


def test_padded_crop_takes_every_offset():
    """D2: all (2·pad + 1)² places are possible, and each is a true crop of the mirrored image."""
    one = np.arange(36, dtype=np.uint8).reshape(1, 6, 6, 1)
    many = np.repeat(one, 2000, axis=0)
    crops = {c.tobytes() for c in padded_crop(many, draws(np.arange(2000)), 2)}
    bordered = np.pad(one[0], [(2, 2), (2, 2), (0, 0)], "reflect")
    expected = {bordered[t : t + 6, s : s + 6].tobytes() for t in range(5) for s in range(5)}
    assert crops == expected


def test_resized_crop_covers_the_stated_area():
    """On a horizontal ramp the range of values tells the width of the crop."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8) * 4, (300, 64, 64))[..., None].copy()
    result = apply("resized", ramp, 0.75).astype(int)
    widths = (result.max(axis=(1, 2, 3)) - result.min(axis=(1, 2, 3))) / 252
    assert widths.min() > 0.4  # √(0.25·¾) = 0.43
    assert widths.max() > 0.95


def test_resized_crop_to_a_size_uses_the_whole_image():
    """`standard` keeps 256 and trains on 224: crops are resized straight to 224, not cut again."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8) * 4, (300, 64, 64))[..., None].copy()
    result = pipeline(0, {"resized": 0.5}, FILL[:1], 56)(ramp, np.arange(300), 0)
    assert result.shape == (300, 56, 56, 1)
    assert result.min() < 8
    assert result.max() > 244


def test_cutout_paints_a_square():
    painted = cutout(IMAGES, draws(np.arange(40)), 6, FILL)
    changed = (painted == FILL).all(axis=3)
    assert changed.sum(axis=(1, 2)).max() == 36
    assert (painted[~changed] == IMAGES[~changed]).all()


def test_pipeline_cuts_the_centre():
    apply_all = pipeline(0, {"flip": 0.5, "cutout": 2}, FILL, 8)
    assert apply_all(IMAGES, np.arange(40), 0).shape == (40, 8, 8, 3)
    np.testing.assert_array_equal(
        pipeline(0, {}, FILL, 8)(IMAGES, np.arange(40), 0), IMAGES[:, 4:12, 4:12]
    )
    np.testing.assert_array_equal(centre(IMAGES, 16), IMAGES)


@pytest.mark.parametrize(
    ("kind", "count"), [("single", 1), ("flip", 2), ("shift", 3), ("flip_shift", 6)]
)
def test_views(kind, count):
    views = views_of(IMAGES, kind)
    assert len(views) == count
    assert all(view.shape == IMAGES.shape for view in views)
    np.testing.assert_array_equal(views[0], IMAGES)
    assert len({np.ascontiguousarray(v).tobytes() for v in views}) == count
