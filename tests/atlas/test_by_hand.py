"""t-SNE's formulas against numeric gradients and scikit-learn's probabilities (D4)."""

import numpy as np
import pytest
from sklearn.manifold import _t_sne

from striate.atlas import by_hand as tsne
from striate.textbook.arrays import TextbookError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5))


def test_every_point_has_the_wanted_perplexity():
    distances = tsne.squared_distances(X)
    np.testing.assert_allclose(distances, ((X[:, None] - X[None]) ** 2).sum(axis=2), atol=1e-9)
    P = tsne.conditional(distances, tsne.precisions(distances, 7.0))
    np.testing.assert_allclose(P.sum(axis=1), 1)
    np.testing.assert_allclose(tsne.perplexities(P), 7.0, rtol=1e-6)
    assert (np.diag(P) == 0).all()
    with pytest.raises(TextbookError, match="expected 1 to 39"):
        tsne.precisions(distances, 50)


def test_joint_probabilities_are_scikit_learns():
    from scipy.spatial.distance import squareform

    distances = tsne.squared_distances(X).astype(np.float32)
    wanted = squareform(_t_sne._joint_probabilities(distances, 10.0, verbose=0))
    np.testing.assert_allclose(tsne.joint(X, 10.0), wanted, atol=2e-6)


@pytest.mark.parametrize("kernel", tsne.KERNELS)
def test_gradients_are_the_numeric_ones(kernel):
    P, Y = tsne.joint(X, 10.0), RNG.normal(size=(40, 2))
    found = tsne.cost_gradient(P, Y, kernel)
    for i, d in [(0, 0), (3, 1), (17, 0), (39, 1)]:
        step = np.zeros_like(Y)
        step[i, d] = 1e-5
        up, down = tsne.cost(P, Y + step, kernel), tsne.cost(P, Y - step, kernel)
        assert found[i, d] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-9)
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-12)  # moving all changes nothing


@pytest.mark.parametrize("kernel", tsne.KERNELS)
def test_descent_lowers_the_cost_and_separates_clusters(kernel):
    centres = 8 * np.eye(5)[:3]
    truth = np.repeat(np.arange(3), 20)
    points = centres[truth] + RNG.normal(size=(60, 5))
    places = list(tsne.descend(points, perplexity=10, steps=200, kernel=kernel))
    P = tsne.joint(points, 10)
    assert tsne.cost(P, places[-1], kernel) < 0.5 * tsne.cost(P, places[0], kernel)
    near = tsne.squared_distances(places[-1]) + np.diag(np.full(60, np.inf))
    assert (truth[near.argmin(axis=1)] == truth).mean() > 0.95


def test_student_leaves_more_room_than_gaussian():
    """Crowding: the same distances on the map are called less unlikely far away."""
    Y = np.array([[0.0, 0], [1, 0], [4, 0]])
    (gauss, _), (student, _) = tsne.gaussian(Y), tsne.student(Y)
    assert student[0, 2] / student[0, 1] > 1000 * gauss[0, 2] / gauss[0, 1]
