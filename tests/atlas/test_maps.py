"""PCA against scikit-learn and the lecture's facts; t-SNE maps, landmarks, and their quality."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from striate.atlas.embed import tsne
from striate.atlas.pca import principal
from striate.atlas.quality import nearest_of, quality

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 12)) * np.linspace(1, 4, 12) + 1000


@pytest.mark.parametrize("size", [1, 7, 300])
def test_components_are_scikit_learns_however_rows_come(size):
    parts = [ROWS[i : i + size] for i in range(0, len(ROWS), size)]
    found, wanted = principal(parts, 4), PCA(4).fit(ROWS)
    np.testing.assert_allclose(found.variances, wanted.explained_variance_)
    np.testing.assert_allclose(np.abs(found.axes), np.abs(wanted.components_), atol=1e-8)
    np.testing.assert_allclose(found.mean, ROWS.mean(axis=0))
    assert found.explained == pytest.approx(wanted.explained_variance_ratio_.sum())


def test_the_variance_of_a_projection_is_its_eigenvalue():
    found = principal([ROWS], 12)
    places = found.project(ROWS)
    np.testing.assert_allclose(places.var(axis=0, ddof=1), found.variances)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(12), atol=1e-10)
    covariance = np.cov(ROWS.T)
    np.testing.assert_allclose(covariance @ found.axes[0], found.variances[0] * found.axes[0])
    direction = RNG.normal(size=12)
    direction /= np.linalg.norm(direction)
    assert (ROWS @ direction).var(ddof=1) <= found.variances[0]  # none has more
    assert (np.diff(found.variances) <= 0).all()


def test_degenerate_rows():
    same = principal([np.ones((5, 3))], 2)
    assert same.explained == 0
    assert (same.variances == 0).all()
    with pytest.raises(ValueError, match="two rows"):
        principal([np.ones((1, 3))], 2)
    with pytest.raises(ValueError, match="columns"):
        principal([np.zeros((2, 9000))], 2)


def clusters(count):
    truth = np.arange(count) % 4
    return truth, 10 * np.eye(6)[truth] + RNG.normal(size=(count, 6))


def test_a_map_keeps_clusters_and_landmarks_place_the_others():
    pytest.importorskip("openTSNE", reason="pip install 'striate[maps]'")
    truth, rows = clusters(240)
    places = tsne(rows)
    np.testing.assert_array_equal(places, tsne(rows))
    few = tsne(rows, landmarks=120)
    for found, least in ((places, 0.95), (few, 0.85)):
        near = nearest_of(found, np.arange(240), 1)[:, 0]
        assert (truth[near] == truth).mean() > least
    with pytest.raises(ValueError, match="8 images"):
        tsne(rows[:5])


def test_quality_tells_a_map_from_noise():
    _, rows = clusters(200)
    good = principal([rows], 2).project(rows)
    again = lambda some, seed: principal([some], 2).project(some)  # noqa: E731
    told, noise = quality(rows, good, again), quality(rows, RNG.normal(size=(200, 2)))
    assert told.stable == 1
    assert told.kept > 2 * noise.kept
    assert noise.kept < 0.15
    assert noise.trustworthiness < 0.6 < told.trustworthiness
    assert quality(rows, rows).kept == 1


def test_nearest_are_others():
    rows = np.zeros((20, 2))  # all in one place
    found = nearest_of(rows, np.arange(20), 3)
    assert found.shape == (20, 3)
    assert (found != np.arange(20)[:, None]).all()
