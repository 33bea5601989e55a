"""Laws of all corruptions: shape and type, growing damage, one result for an image in any batch."""

import numpy as np
import pytest

from striate.data.corruptions import CORRUPTIONS, STRENGTHS, Corrupted


class Pictures:
    """A few smooth pictures."""

    threads = None

    def __init__(self, side=32, channels=3):
        y, x = np.mgrid[:side, :side] / side
        waves = [np.sin(2 * np.pi * (i % 5 + 1) * (x + i * y / 7)) for i in range(24)]
        grey = np.stack(waves)[..., None].repeat(channels, axis=3)
        self.images = np.rint(127 + 90 * grey).astype(np.uint8)

    def __len__(self):
        return len(self.images)

    def load(self, ids):
        return self.images[ids].copy()


EVERY = np.arange(24)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 65])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_and_type(name, side, channels):
    pictures = Pictures(side, channels)
    for strength in STRENGTHS:
        found = Corrupted(pictures, name, strength).load(EVERY)
        assert (found.shape, found.dtype) == (pictures.images.shape, np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_grows_with_strength(name):
    pictures = Pictures()
    apart = [
        np.abs(Corrupted(pictures, name, s).load(EVERY) - pictures.images.astype(float)).mean()
        for s in STRENGTHS
    ]
    assert 0.5 < apart[0] < apart[-1]
    if name != "shift":  # of waves a longer shift may come round
        assert (np.diff(apart) > 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_the_same_in_any_batch(name):
    store = Corrupted(Pictures(), name, 3, seed=5)
    np.testing.assert_array_equal(store.load(EVERY)[[7, 3]], store.load(np.array([7, 3])))
    other = Corrupted(Pictures(), name, 3, seed=6).load(EVERY)
    if name in ("noise", "shift", "rotation", "brightness"):
        assert (store.load(EVERY) != other).any()
