"""Cheap signals, against independent sources."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.neighbors import KNeighborsClassifier

from striate.transfer.scores import leep, logme, neighbour_scores


def problem(images, features, classes, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, images)
    x = rng.normal(size=(images, features))
    x[:, : min(classes, features)] += 1.5 * np.eye(classes)[truth][:, : min(classes, features)]
    return x, truth, np.eye(classes)[truth]


@pytest.mark.parametrize(("images", "features"), [(40, 6), (12, 30)])
def test_logme_is_the_largest_log_evidence(images, features):
    x, _, table = problem(images, features, 3)

    def best(column):
        def unlikely(logs):
            logs = np.clip(logs, -12, 12)
            covariance = np.eye(images) / np.exp(logs[1]) + x @ x.T / np.exp(logs[0])
            return -multivariate_normal.logpdf(column, np.zeros(images), covariance)

        starts = [(a, b) for a in (-1.0, 2.0, 5.0) for b in (0.0, 2.0)]
        found = [minimize(unlikely, start, method="Nelder-Mead").fun for start in starts]
        return -min(found) / images

    expected = np.mean([best(table[:, c]) for c in range(3)])
    assert logme(x, table) == pytest.approx(expected, abs=2e-3)


def test_logme_prefers_features_that_tell_the_classes_apart():
    x, _, table = problem(60, 8, 3)
    shuffled = x[np.random.default_rng(1).permutation(len(x))]
    assert logme(x, table) > logme(shuffled, table)


def test_leep_as_its_definition_says():
    rng = np.random.default_rng(0)
    source = rng.dirichlet(np.ones(5), 30)
    _, truth, table = problem(30, 2, 3)
    joint = np.zeros((3, 5))
    for row, label in zip(source, truth, strict=True):
        joint[label] += row / 30
    given = joint / joint.sum(axis=0)
    expected = np.mean([
        np.log(sum(given[label, z] * row[z] for z in range(5)))
        for row, label in zip(source, truth, strict=True)
    ])  # fmt: skip
    assert leep(source, table) == pytest.approx(expected)


def test_leep_of_several_labels_is_finite_and_best_for_a_source_that_knows_them():
    table = np.array([[1, 0], [1, 1], [0, 0], [0, 1]] * 5, dtype=float)
    knows = np.eye(4)[[2, 3, 0, 1] * 5]
    blank = np.full((20, 4), 0.25)
    assert leep(knows, table) == pytest.approx(0.0, abs=1e-6)
    assert leep(blank, table) == pytest.approx(np.log(0.5))


def test_neighbours_are_those_of_scikit_learn():
    x, truth, table = problem(40, 4, 3)
    ours = neighbour_scores(x, table, 5)
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        other = KNeighborsClassifier(5, metric="cosine").fit(x[rest], truth[rest])
        assert ours[i] == pytest.approx(other.predict_proba(x[i : i + 1])[0])


def test_few_images_and_alike_images():
    same = np.ones((3, 4))
    table = np.array([[1, 0], [1, 0], [0, 1.0]])
    assert neighbour_scores(same, table).shape == (3, 2)
    assert np.isfinite(logme(same, table))
    assert np.isfinite(logme(np.zeros((3, 4)), table))
