"""What detectors are made of, beside torchvision and beside numeric gradients."""

import numpy as np
import pytest
import torch
from torchvision import ops
from torchvision.models.detection._utils import BoxCoder, Matcher

from striate.core.anchors import anchor_shapes, shape_overlaps, unfit
from striate.models.detectors.assign import BACKGROUND, IGNORED, by_overlap, task_aligned
from striate.models.detectors.coding import (
    anchors,
    cells,
    from_distances,
    from_offsets,
    generalised,
    overlaps,
    points,
    to_distances,
    to_offsets,
)
from striate.models.detectors.detector import Objects, padded
from striate.models.detectors.losses import focal, giou_loss, smooth_l1, varifocal
from striate.models.detectors.pooling import pool_regions
from striate.models.detectors.suppress import soften, suppress, voted


def boxes(count, seed=0, side=60.0):
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=g, dtype=torch.float64) * side
    return torch.cat(
        [corners, corners + 2 + torch.rand(count, 2, generator=g).double() * 30], dim=1
    )


def test_overlaps_beside_torchvision():
    one, other = boxes(40), boxes(40, 1)
    torch.testing.assert_close(overlaps(one, other), ops.box_iou(one, other))
    wanted = ops.generalized_box_iou(one, other).diagonal()
    torch.testing.assert_close(generalised(one, other), wanted)
    torch.testing.assert_close(giou_loss(one, other), ops.generalized_box_iou_loss(one, other))


def test_losses_beside_torch_and_torchvision():
    found, wanted = torch.randn(50), torch.randn(50)
    for beta in (0.1, 1.0):
        torch.testing.assert_close(
            smooth_l1(found, wanted, beta),
            torch.nn.functional.smooth_l1_loss(found, wanted, reduction="none", beta=beta),
        )
    truth = (torch.rand(50) < 0.3).float()
    torch.testing.assert_close(focal(found, truth), ops.sigmoid_focal_loss(found, truth))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: smooth_l1(x, torch.zeros_like(x)),
        lambda x: focal(x, torch.tensor([[1.0, 0, 0, 1]]).double().expand_as(x)),
        lambda x: giou_loss(torch.cat([x[:, :2], x[:, 2:] + 40], dim=1), boxes(3)),
    ],
)
def test_gradients_are_the_numeric_ones(loss):
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: loss(values).sum(), (x,))


def test_varifocal_weighs_objects_by_quality_and_background_by_how_sure_it_is():
    logits = torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    quality = torch.tensor([0.7, 0.0, 0.0])
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    weight = torch.tensor([0.7, 0.75 * torch.sigmoid(torch.tensor(-1.0)) ** 2,
                           0.75 * torch.sigmoid(torch.tensor(0.5)) ** 2])  # fmt: skip
    found = varifocal(logits, quality)
    torch.testing.assert_close(found, weight * plain)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(slope, weight * (logits.sigmoid() - quality))  # the weight is held


def test_distances_and_offsets_there_and_back():
    places, strides = points(64, [8, 16])
    assert cells(65, [8, 16]) == [9, 5]
    assert places.shape == (64 + 16, 2)
    assert places[0].tolist() == [4, 4]
    assert places[64].tolist() == [8, 8]
    some = boxes(len(places)).float()
    torch.testing.assert_close(
        from_distances(places, strides, to_distances(places, strides, some)), some
    )
    one, other = boxes(30).float(), boxes(30, 5).float()
    wanted = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(one, other)
    torch.testing.assert_close(to_offsets(one, other), wanted)
    torch.testing.assert_close(from_offsets(wanted, other), one)
    assert torch.isfinite(from_offsets(torch.full((30, 4), 99.0), other)).all()


def test_anchors_stand_around_the_cells():
    made = anchors(32, 16, torch.tensor([[10.0, 20], [8, 8]]))
    assert made.shape == (8, 4)
    assert made[0].tolist() == [3, -2, 13, 18]
    assert made[1].tolist() == [4, 4, 12, 12]


@pytest.mark.parametrize("most", [0.2, 0.5, 0.8])
def test_suppression_beside_torchvision(most):
    some, numbers = boxes(120).float(), torch.arange(120) % 3
    scores = torch.rand(120, generator=torch.Generator().manual_seed(2))
    wanted = ops.batched_nms(some, scores, numbers, most)
    assert suppress(some, scores, numbers, most).tolist() == wanted.tolist()


def test_soft_suppression_lowers_neighbours_of_the_class_only():
    some = torch.tensor([[0.0, 0, 10, 10], [0, 1, 10, 11], [0, 1, 10, 11], [50, 50, 60, 60]])
    found = soften(some, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 1, 0]))
    shared = 90 / 110
    assert found[0] == pytest.approx(0.9)
    assert found[1] == pytest.approx(0.8 * np.exp(-(shared**2) / 0.5), abs=1e-6)
    assert found[2:].tolist() == pytest.approx([0.7, 0.6])


@pytest.mark.parametrize("seed", range(6))
def test_the_lecture_s_assignment_beside_torchvision(seed):
    some = anchors(64, 8, torch.tensor([[12.0, 12], [24, 16], [40, 40]]))
    truth = boxes(5, seed).float()
    wanted = Matcher(0.7, 0.3, allow_low_quality_matches=True)(overlaps(truth, some))
    found = by_overlap(some, truth).objects
    same = (wanted < 0) == (found < 0)
    assert same.all()
    assert ((wanted == BACKGROUND) == (found == BACKGROUND)).all()
    assert ((wanted == -2) == (found == IGNORED)).all()
    for g in range(len(truth)):
        assert (found == g).any()


def test_no_object_is_all_background():
    none = torch.zeros(0, 4)
    assert (by_overlap(boxes(9).float(), none).objects == BACKGROUND).all()
    places, _ = points(32, [8])
    found = task_aligned(places, torch.rand(16, 2), boxes(16).float(), none, torch.zeros(0).long())
    assert (found.objects == BACKGROUND).all()
    assert not found.quality.any()


def test_task_aligned_by_hand():
    """Two objects: each gets the points inside whose prediction suits best; one that holds no point
    gets the nearest; the best of each has its own overlap as quality."""
    places, strides = points(32, [8])
    truth = torch.tensor([[0.0, 0, 16, 16], [25, 25, 27, 27]])
    numbers = torch.tensor([1, 0])
    predicted = from_distances(places, strides, torch.ones(16, 4))
    scores = torch.full((16, 2), 0.5)
    found = task_aligned(places, scores, predicted, truth, numbers, most=3)
    of_first = torch.nonzero(found.objects == 0)[:, 0]
    assert len(of_first) == 3
    assert set(of_first.tolist()) <= {0, 1, 4, 5}
    assert torch.nonzero(found.objects == 1)[:, 0].tolist() == [15]
    shared = overlaps(truth, predicted)
    best = float(shared[0, of_first].max())
    assert float(found.quality[of_first].max()) == pytest.approx(best, abs=1e-6)
    assert float(found.quality[15]) == pytest.approx(float(shared[1, 15]), abs=1e-6)
    assert (found.quality[found.objects < 0] == 0).all()


def test_task_aligned_of_many_images_is_that_of_each():
    """Images with different numbers of objects, one with none, are padded and assigned together."""
    places, _ = points(64, [8, 16])
    g = torch.Generator().manual_seed(3)
    scores = torch.rand(4, len(places), 2, generator=g)
    predicted = torch.stack([boxes(len(places), seed=i).float() for i in range(4)])
    own = [boxes(count, seed=9 + count).float() for count in (3, 0, 1, 7)]
    numbers = [torch.arange(len(each)) % 2 for each in own]
    aside = torch.zeros(0, 4)
    together = padded([Objects(p, n, aside) for p, n in zip(own, numbers, strict=True)])
    found = task_aligned(places, scores, predicted, together.places, together.numbers)
    for i in range(4):
        alone = task_aligned(places, scores[i], predicted[i], own[i], numbers[i])
        torch.testing.assert_close(found.objects[i], alone.objects)
        torch.testing.assert_close(found.quality[i], alone.quality)


@pytest.mark.parametrize("samples", [1, 2])
def test_pooling_beside_torchvision(samples):
    maps = torch.randn(3, 5, 12, 16, generator=torch.Generator().manual_seed(1))
    some = torch.tensor([[10.0, 12, 60, 70], [0, 0, 128, 96], [33, 5, 41, 90], [64, 32, 65, 33]])
    images = torch.tensor([0, 2, 2, 1])
    wanted = ops.roi_align(
        maps, torch.cat([images[:, None].float(), some], dim=1), 7, 1 / 8, samples, aligned=True
    )
    torch.testing.assert_close(pool_regions(maps, some, images, 8.0, 7, samples), wanted,
                               atol=1e-5, rtol=1e-5)  # fmt: skip
    maps.requires_grad_()
    pool_regions(maps, some, images, 8.0).sum().backward()
    assert torch.isfinite(maps.grad).all()
    low = pool_regions(maps.detach().bfloat16(), some, images, 8.0)
    assert low.dtype == torch.float32


def test_shapes_of_anchors():
    rng = np.random.default_rng(0)
    kinds = np.array([[10.0, 30], [50, 50], [120, 40]])
    sides = kinds[rng.integers(0, 3, 300)] * rng.normal(1, 0.02, (300, 2))
    found = anchor_shapes(sides, 3)
    np.testing.assert_allclose(found, kinds[np.argsort(kinds.prod(axis=1))], rtol=0.03)
    np.testing.assert_array_equal(found, anchor_shapes(sides, 3))
    assert not unfit(sides, found).any()
    assert unfit(np.array([[4.0, 300]]), found).all()
    assert shape_overlaps(sides[:4], sides[:4]).diagonal() == pytest.approx(1)


def test_boxes_that_remain_move_to_the_mean_of_those_around_them():
    places = torch.tensor([[0.0, 0, 10, 10], [0, 0, 12, 10], [50, 50, 60, 60], [0, 0, 10, 10]])
    scores, numbers = torch.tensor([0.9, 0.6, 0.5, 0.8]), torch.tensor([0, 0, 0, 1])
    kept = suppress(places, scores, numbers, 0.6)
    assert kept.tolist() == [0, 3, 2]
    found = voted(places, scores, numbers, kept)
    shared = 10 / 12
    weight = 0.6 * np.exp(-((1 - shared) ** 2) / 0.05)
    assert found[0, 2].item() == pytest.approx((0.9 * 10 + weight * 12) / (0.9 + weight))
    torch.testing.assert_close(found[1:], places[[3, 2]])  # another class, and nobody near
    assert voted(places[:0], scores[:0], numbers[:0], kept[:0]).shape == (0, 4)
