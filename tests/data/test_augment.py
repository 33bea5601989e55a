"""Laws that every augmentation obeys, and what each one does."""

import math

import numpy as np
import pytest
from scipy import ndimage, stats
from torchvision.transforms import v2

from striate.core.geometry import identity, move_boxes, move_points
from striate.core.randomness import uniform
from striate.data.augment import (
    AUGMENTATIONS,
    PARTNERS,
    VIEWS,
    About,
    Pipeline,
    centre,
    colour,
    erase,
    place,
    variants,
    views_of,
)
from striate.data.augment.policies import OPERATIONS
from striate.data.boxes import boxes_of
from striate.data.loader import joined
from striate.data.prepare import measure

STRENGTH = {
    "window": 1, "pad": 3, "resized": 0.6, "zoom": 0.6, "rotate": 30, "affine": 0.2, "flip": 0.5,
    "vertical_flip": 0.5, "trivial": 1, "rand": 0.5, "brightness": 0.4, "contrast": 0.4,
    "saturation": 0.6, "hue": 0.3, "principal_colours": 0.3, "greyscale": 0.6, "blur": 2,
    "cutout": 6, "random_erasing": 0.8, "mixup": 1.0, "cutmix": 1.0, "mosaic": 0.7,
}  # fmt: skip
FILL = np.array([10.0, 20.0, 30.0])
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
BASIS = measure([IMAGES]).colour_basis
PLACES = [n for n, m in AUGMENTATIONS.items() if m.kind == "place"]
MIXES = [n for n, m in AUGMENTATIONS.items() if m.kind == "mix"]


def about(size=16, channels=3, **extra):
    return About(size, FILL[:channels], BASIS[:channels, :channels], **extra)


def draws(ids, epoch=0, seed=0):
    ids = np.arange(ids) if isinstance(ids, int) else ids
    return lambda purpose, count: uniform(seed, epoch, purpose, ids, count)


def apply(name, images, strength, *, ids=None, size=None, masks=False, **position):
    """The changed images of any member; partners of a mix are the images in reverse order."""
    member = AUGMENTATIONS[name]
    draw = draws(len(images) if ids is None else ids, **position)
    facts = about(size or images.shape[1], images.shape[3], masks=masks)
    if member.kind == "mix":
        partners = IMAGES[::-1] if ids is None else IMAGES[::-1][ids]
        return member.apply(images, partners[..., : images.shape[3]], draw, strength, facts)[0]
    if member.kind == "join":
        others = np.stack([np.roll(IMAGES, k, axis=0) for k in range(1, PARTNERS + 1)], axis=1)
        others = others if ids is None else others[ids]
        return member.apply(images, others[..., : images.shape[3]], draw, strength, facts).images
    result = member.apply(images, draw, strength, facts)
    return result.images if member.kind == "place" else result


def test_every_member_is_tested():
    assert set(STRENGTH) == set(AUGMENTATIONS)


@pytest.mark.parametrize("name", AUGMENTATIONS)
class TestLaws:
    def size(self, name):
        return 12 if name == "window" else 16

    def test_identity_at_strength_zero(self, name):
        np.testing.assert_array_equal(apply(name, IMAGES, 0), IMAGES)

    def test_repeats_for_a_seed_and_differs_between_epochs(self, name):
        size, strength = self.size(name), STRENGTH[name]
        first = apply(name, IMAGES, strength, size=size)
        np.testing.assert_array_equal(first, apply(name, IMAGES, strength, size=size))
        assert not np.array_equal(first, apply(name, IMAGES, strength, size=size, epoch=1))
        assert not np.array_equal(first, apply(name, IMAGES, strength, size=size, seed=1))

    def test_independent_of_the_batch(self, name):
        together = apply(name, IMAGES, STRENGTH[name], size=self.size(name))
        chosen = np.array([31, 4, 17])
        alone = apply(name, IMAGES[chosen], STRENGTH[name], ids=chosen, size=self.size(name))
        np.testing.assert_array_equal(alone, together[chosen])

    def test_shape_type_and_input_are_kept(self, name):
        before, size = IMAGES.copy(), self.size(name)
        for images in (IMAGES, IMAGES[..., :1]):
            result = apply(name, images, STRENGTH[name], size=size)
            assert (result.shape, result.dtype) == ((40, size, size, images.shape[3]), np.uint8)
        np.testing.assert_array_equal(IMAGES, before)

    def test_changes_something(self, name):
        changed = apply(name, IMAGES, STRENGTH[name], size=self.size(name))
        differs = (changed != centre(IMAGES, self.size(name))).any(axis=(1, 2, 3))
        assert differs.mean() > 0.3

    def test_a_pipeline_has_it(self, name):
        """Alone in a pipeline: the same bits in any batch, and masks keep their values."""
        size = self.size(name)
        apply_one = Pipeline(3, {name: STRENGTH[name]}, about(size))
        ids = np.arange(40)
        together, alone = apply_one(IMAGES, ids, 2), apply_one(IMAGES[5:7], ids[5:7], 2)
        np.testing.assert_array_equal(together[5:7], alone)
        labels = (np.arange(256).reshape(1, 16, 16, 1) // 64 * 50 + 7).astype(np.uint8)
        moved = apply_one.moved(np.repeat(labels, 40, 0), ids, 2, masks=True).images
        assert set(np.unique(moved)) <= {0, 7, 57, 107, 157}


def joined_blobs(strengths, n=60, side=64):
    """Blobs put together with the blobs before them, and where the points of all parts went."""
    images, points = blobs(n, side)
    dark = About(side, np.zeros(3), np.zeros((3, 3)))
    rows = (np.arange(n)[:, None] - np.arange(PARTNERS + 1)) % n
    pipe = Pipeline(1, strengths, dark)
    moved = pipe.moved(images, np.arange(n), 0)
    made, parts = joined(pipe, moved, rows, rows, np.arange(n), 0)
    places = move_points(points[rows.ravel()], parts.matrices.reshape(-1, 2, 3))
    return made, parts, places.reshape(n, PARTNERS + 1, 2)


def test_points_of_a_mosaic_move_with_pixels():
    made, parts, places = joined_blobs({"mosaic": 1.0, "flip": 0.5, "zoom": 0.3})
    areas = (parts.windows[..., 2] - parts.windows[..., 0]) * (
        parts.windows[..., 3] - parts.windows[..., 1]
    )
    np.testing.assert_array_equal(areas.sum(axis=1), 64 * 64)  # the four fill the image
    apart = []
    for image, windows, points in zip(made, parts.windows.astype(int), places, strict=True):
        for (left, top, right, bottom), (x, y) in zip(windows, points, strict=True):
            if left + 5 < x < right - 5 and top + 5 < y < bottom - 5:
                seen = image[None, top:bottom, left:right]
                apart.append(np.abs(centres(seen)[0] + (left, top) - (x, y)).max())
    assert len(apart) > 100
    assert max(apart) < 1


def test_blended_images_keep_the_objects_of_both():
    made, parts, places = joined_blobs({"mixup": 8.0})
    assert (parts.windows[:, :2] == [0, 0, 64, 64]).all()
    assert (parts.windows[:, 2:] == 0).all()
    for image, points in zip(made, places, strict=True):
        for x, y in points[:2].astype(int):
            assert image[y, x, 0] > 20


def test_boxes_of_a_mosaic_are_those_of_its_parts():
    """Objects of shown parts only, cut at their windows; those of no window vanish."""
    boxes = boxes_of([
        (np.array([[10.0, 10, 30, 30]]), np.array([i]), np.zeros(1, np.uint8)) for i in range(4)
    ])  # fmt: skip
    matrices = np.tile(identity(1), (4, 1, 1))
    windows = np.array([[0, 0, 20, 64], [0, 0, 64, 64], [40, 40, 64, 64], [0, 0, 0, 0.0]])
    found = boxes.moved(matrices, 64, windows).together(4)
    assert len(found) == 1
    np.testing.assert_array_equal(found.places, [[10, 10, 20, 30], [10, 10, 30, 30]])
    np.testing.assert_array_equal(found.numbers, [0, 1])


def blobs(n, side):
    """Images with one bright blob, and its centre of mass (x, y)."""
    y, x = np.mgrid[:side, :side]
    points = RNG.uniform(0.4 * side, 0.6 * side, (n, 2))
    distance = (x + 0.5 - points[:, :1, None]) ** 2 + (y + 0.5 - points[:, 1:, None]) ** 2
    images = np.rint(250 * np.exp(-distance / (2 * (side / 20) ** 2))).astype(np.uint8)
    return np.repeat(images[..., None], 3, axis=3), points[:, None]


def centres(images):
    return np.array([ndimage.center_of_mass(image[..., 0])[::-1] for image in images]) + 0.5


@pytest.mark.parametrize("name", PLACES)
def test_points_and_boxes_move_with_pixels(name):
    side, n = 64, 40
    images, points = blobs(n, side)
    strength = {"pad": 6, "rotate": 40, "affine": 0.15, "resized": 0.5, "zoom": 0.5, "trivial": 0.3}
    size = 56 if name in ("window", "resized", "zoom") else side
    dark = About(size, np.zeros(3), np.zeros((3, 3)))
    pipe = Pipeline(1, {name: strength.get(name, STRENGTH[name])}, dark)
    moved, matrices = pipe.moved(images, np.arange(n), 0)
    places = move_points(points, matrices)[:, 0]
    bright = moved[..., 0].max(axis=(1, 2)) > 120  # some colour operations of the policies darken
    inside = ((places > 10) & (places < size - 10)).all(axis=1) & bright
    if name in ("trivial", "rand"):  # operations that lift the dark have no centre of mass
        inside &= np.median(moved[..., 0], axis=(1, 2)) == 0
    assert inside.mean() > 0.4
    assert np.abs(centres(moved[inside]) - places[inside]).max() < 0.6
    assert not np.allclose(places, points[:, 0], atol=0.5)
    around = np.concatenate([points - 3, points + 3], axis=2)
    boxes = move_boxes(around, matrices, (size, size))[:, 0]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(middle[inside], places[inside], atol=1e-6)


def test_boxes_are_cut_at_the_border():
    matrices = np.array([[[1.0, 0, -5], [0, 1.0, 0]]])
    boxes = move_boxes(np.array([[[2.0, 3, 10, 12], [0, 0, 4, 4]]]), matrices, (10, 10))
    np.testing.assert_array_equal(boxes, [[[0, 3, 5, 10], [0, 0, 0, 4]]])


def test_a_chain_moves_points_as_pixels():
    images, points = blobs(30, 64)
    dark = About(56, np.zeros(3), np.zeros((3, 3)))
    chain = {"resized": 0.3, "rotate": 20, "flip": 0.5, "vertical_flip": 0.5, "affine": 0.1}
    moved, matrices = Pipeline(0, chain, dark).moved(images, np.arange(30), 4)
    places = move_points(points, matrices)[:, 0]
    inside = ((places > 12) & (places < 44)).all(axis=1)
    assert inside.mean() > 0.5
    assert np.abs(centres(moved[inside]) - places[inside]).max() < 0.7


def test_flips_are_mirrors():
    flipped = place.flip(IMAGES, draws(40), 1.0, about()).images
    np.testing.assert_array_equal(flipped, IMAGES[:, :, ::-1])
    flipped = place.vertical_flip(IMAGES, draws(40), 1.0, about()).images
    np.testing.assert_array_equal(flipped, IMAGES[:, ::-1])


def test_padded_crop_takes_every_offset():
    """D2: all (2·pad + 1)² places are possible, and each is a true crop of the mirrored image."""
    one = np.arange(36, dtype=np.uint8).reshape(1, 6, 6, 1)
    many = np.repeat(one, 2000, axis=0)
    crops = {c.tobytes() for c in place.padded_crop(many, draws(2000), 2, about(6)).images}
    bordered = np.pad(one[0], [(2, 2), (2, 2), (0, 0)], "reflect")
    expected = {bordered[t : t + 6, s : s + 6].tobytes() for t in range(5) for s in range(5)}
    assert crops == expected


def test_windows_take_every_offset():
    many = np.repeat(np.arange(36, dtype=np.uint8).reshape(1, 6, 6, 1), 2000, axis=0)
    crops = {c.tobytes() for c in place.window(many, draws(2000), 1, about(4)).images}
    assert crops == {many[0, t : t + 4, s : s + 4].tobytes() for t in range(3) for s in range(3)}


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
    result = Pipeline(0, {"resized": 0.5}, about(56, 1))(ramp, np.arange(300), 0)
    assert result.shape == (300, 56, 56, 1)
    assert result.min() < 8
    assert result.max() > 244


def test_rotation_turns_as_torchvision_does():
    images, _ = blobs(6, 33)
    turned = place.rotated(images, np.full(6, 30.0), about(33)).images
    for ours, image in zip(turned, images, strict=True):
        tensor = v2.functional.to_image(image)
        theirs = v2.functional.rotate(tensor, -30, v2.InterpolationMode.BILINEAR, fill=[10, 20, 30])
        difference = ours.astype(int) - theirs.permute(1, 2, 0).numpy()
        assert np.abs(difference[6:-6, 6:-6]).max() <= 2


@pytest.mark.parametrize("factor", [0.3, 1.7])
def test_colours_change_as_torchvision_s(factor):
    factors = np.full((40, 1), factor)
    ours = {
        "adjust_brightness": colour.scaled(IMAGES, factors, 0 * factors),
        "adjust_contrast": colour.contrasted(IMAGES, factors),
        "adjust_saturation": colour.saturated(IMAGES, factors[:, 0]),
    }
    for name, changed in ours.items():
        tensor = v2.functional.to_image(IMAGES[0])
        theirs = getattr(v2.functional, name)(tensor, factor).permute(1, 2, 0).numpy()
        assert np.abs(changed[0].astype(int) - theirs).max() <= 2, (
            name
        )  # torchvision cuts fractions off


def test_scaling_by_table_and_by_product_agree():
    large = RNG.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    factors, shifts = np.array([[0.5], [1.3], [1.0]]), np.array([[20.0], [-30.0], [0.0]])
    expected = np.rint(large * factors[:, None, None] + shifts[:, None, None]).clip(0, 255)
    np.testing.assert_array_equal(colour.scaled(large, factors, shifts), expected)
    small = large[:, :5, :5]
    np.testing.assert_allclose(colour.scaled(small, factors, shifts), expected[:, :5, :5], atol=1)


def test_hue_turns_the_circle():
    red = np.full((200, 4, 4, 3), (200, 50, 50), dtype=np.uint8)
    turned = colour.hue(red, draws(200), 0.5, about())
    assert np.abs(colour.hue(red, draws(200), 1e-9, about()).astype(int) - red).max() <= 1
    assert {int(image[0, 0].argmax()) for image in turned} == {0, 1, 2}
    grey = np.full((5, 4, 4, 3), 90, dtype=np.uint8)
    np.testing.assert_allclose(colour.hue(grey, draws(5), 0.5, about()), grey, atol=1)


def test_principal_colours_follow_the_data():
    """D2: the shift lies along the eigenvectors, with deviation 0.1·λ on the scale 0 to 1."""
    base = (
        RNG.normal(size=(20, 30, 30, 1)) * np.array([40.0, 30, 20])
        + RNG.normal(size=(20, 30, 30, 3)) * 8
    )
    images = (base + 120).clip(0, 255).astype(np.uint8)
    found = measure([images])
    expected = np.cov(images.reshape(-1, 3).T / 255.0)
    np.testing.assert_allclose(found.covariance / 255**2, expected, rtol=1e-3)
    values, vectors = found.colour_axes
    np.testing.assert_allclose(expected @ vectors, vectors * values, atol=1e-5)
    flat = np.full((4000, 2, 2, 3), 120, dtype=np.uint8)
    facts = About(2, FILL, found.colour_basis * 30)  # thirty times: shifts beyond rounding
    shifts = colour.principal_colours(flat, draws(4000), 0.1, facts)[:, 0, 0].astype(float) - 120
    along = shifts @ vectors / 255
    np.testing.assert_allclose(along.std(axis=0)[0], 0.1 * 30 * values[0], rtol=0.05)
    assert stats.kstest(along[:, 0] / along[:, 0].std(), "norm").statistic < 0.03


def test_blur_is_a_gaussian_s():
    dot = np.zeros((1, 41, 41, 1), dtype=np.uint8)
    dot[0, 20, 20] = 255
    dot = np.repeat(dot, 30, axis=0)
    for image, radius in zip(
        colour.blur(dot, draws(30), 3, about(41, 1)), 3 * draws(30)("blur", 1)[:, 0], strict=True
    ):
        if radius > 0.8:
            y = np.arange(41) - 20
            weights = image[..., 0].sum(axis=0).astype(float)
            spread = np.sqrt((weights * y**2).sum() / weights.sum())
            assert spread == pytest.approx(radius, rel=0.25, abs=0.3)


def test_cutout_paints_a_square():
    painted = erase.cutout(IMAGES, draws(40), 6, about())
    changed = (painted == FILL).all(axis=3)
    assert changed.sum(axis=(1, 2)).max() == 36
    assert (painted[~changed] == IMAGES[~changed]).all()


def test_random_erasing_takes_its_share():
    flat = np.full((500, 40, 40, 3), 128, dtype=np.uint8)
    result = erase.random_erasing(flat, draws(500), 0.5, about(40))
    share = (result != 128).any(axis=3).mean(axis=(1, 2))
    assert (share > 0).mean() == pytest.approx(0.5, abs=0.08)
    assert share[share > 0].min() > 0.015
    assert share.max() < 0.36


def test_mixup_blends_by_beta():
    black = np.zeros((4000, 2, 2, 1), dtype=np.uint8)
    mixed, shares = erase.mixup(black, black + 255, draws(4000), 0.4, about(2, 1))
    np.testing.assert_allclose(mixed[:, 0, 0, 0] / 255, 1 - shares, atol=0.003)
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).statistic < 0.03


def test_cutmix_shares_are_the_areas():
    black = np.zeros((1000, 20, 30, 1), dtype=np.uint8)
    mixed, shares = erase.cutmix(black, black + 1, draws(1000), 1.0, about(20, 1))
    np.testing.assert_allclose(1 - mixed.mean(axis=(1, 2, 3)), shares, atol=1e-6)
    assert 0.4 < shares.mean() < 0.8


def test_one_of_two_mixes_for_each_image():
    pipe = Pipeline(0, {"mixup": 1.0, "cutmix": 1.0}, about())
    images, lam = pipe.mixed(IMAGES, np.arange(40), IMAGES[::-1], 0)
    untouched = (images == IMAGES).mean(axis=(1, 2, 3))
    assert (untouched > 0.2).any()  # cutmix leaves pixels as they are
    assert (untouched < 0.1).any()  # mixup hardly any
    assert lam.shape == (40,)


@pytest.mark.parametrize("name", OPERATIONS)
def test_policies_operations(name):
    """At magnitude 0 each is the identity, but for those that have no magnitude."""
    facts = about()
    still = OPERATIONS[name](IMAGES, np.zeros(40), facts).images
    if name not in ("autocontrast", "equalise"):
        np.testing.assert_allclose(still, IMAGES, atol=1)
    strong = OPERATIONS[name](IMAGES // 2 + 30, np.full(40, 0.9), facts).images
    assert (name == "identity") == np.array_equal(strong, IMAGES // 2 + 30)


def test_pipeline_cuts_the_centre():
    apply_all = Pipeline(0, {"flip": 0.5, "cutout": 2}, about(8))
    assert apply_all(IMAGES, np.arange(40), 0).shape == (40, 8, 8, 3)
    still = Pipeline(0, {}, about(8))(IMAGES, np.arange(40), 0)
    np.testing.assert_array_equal(still, IMAGES[:, 4:12, 4:12])
    np.testing.assert_array_equal(centre(IMAGES, 16), IMAGES)


@pytest.mark.parametrize(
    ("strengths", "stored", "size", "count"),
    [
        ({}, 256, 224, 1),
        ({"flip": 0.5}, 224, 224, 2),
        ({"window": 1, "flip": 0.5}, 256, 224, 2 * 33 * 33),
        ({"pad": 2, "flip": 0.5}, 32, 32, 50),
        ({"resized": 0.5}, 256, 224, math.inf),
    ],
)
def test_variants_are_counted_as_the_lecture_does(strengths, stored, size, count):
    assert variants(strengths, stored, size) == count


@pytest.mark.parametrize(
    ("kind", "count"),
    [("single", 1), ("flip", 2), ("shift", 3), ("flip_shift", 6), ("ten_crop", 10)],
)
def test_views(kind, count):
    views = views_of(IMAGES, kind, 12)
    assert len(views) == count
    assert all(view.shape == (40, 12, 12, 3) for view in views)
    np.testing.assert_array_equal(views[0], centre(IMAGES, 12))
    assert len({np.ascontiguousarray(v).tobytes() for v in views}) == count


def test_views_are_all_tested():
    assert set(VIEWS) == {"single", "flip", "shift", "flip_shift", "ten_crop"}


def test_ten_crop_is_torchvision_s():
    tensor = v2.functional.to_image(IMAGES[0])
    theirs = {t.permute(1, 2, 0).numpy().tobytes() for t in v2.functional.ten_crop(tensor, 12)}
    assert {view[0].tobytes() for view in views_of(IMAGES, "ten_crop", 12)} == theirs
