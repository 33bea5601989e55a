"""Whether two splits can be told apart: beside scikit-learn, and without importing it."""

import subprocess
import sys

import numpy as np
import pytest

from striate.metrics.difference import _prepared, area_between, logistic, told_apart


def rows(count, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (count, 12)) * rng.uniform(0.5, 20, 12)


@pytest.mark.parametrize(
    ("shift", "strength"), [(0.0, 0.05), (0.8, 0.05), (3.0, 1.0), (50.0, 0.05)]
)
def test_weights_are_those_of_scikit_learn(shift, strength):
    sklearn = pytest.importorskip("sklearn.linear_model")
    x = np.concatenate([rows(90), rows(40, shift, 1)]) / 10
    y = np.repeat([0, 1], [90, 40])
    theirs = sklearn.LogisticRegression(C=strength, max_iter=10_000, tol=1e-10).fit(x, y)
    ours = logistic(x, y, strength)
    np.testing.assert_allclose(ours[:-1], theirs.coef_[0], atol=2e-4)
    np.testing.assert_allclose(ours[-1], theirs.intercept_[0], atol=2e-3, rtol=1e-3)


def test_preparation_is_that_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x, others = rows(80), rows(30, 0.4, 2)
    x[:, 3] = others[:, 3] = 7.0  # a constant
    scaler = preprocessing.StandardScaler().fit(x)
    pca = decomposition.PCA(5).fit(scaler.transform(x))
    train, seen = _prepared(x, others, 5)
    np.testing.assert_allclose(abs(train), abs(pca.transform(scaler.transform(x))), atol=1e-8)
    np.testing.assert_allclose(abs(seen), abs(pca.transform(scaler.transform(others))), atol=1e-8)


def test_area_and_error():
    alike, error = area_between(rows(400), rows(300, 0, 1))
    assert abs(alike - 0.5) < 3 * error
    apart, small = area_between(rows(400), rows(300, 1.0, 1))
    assert apart > 0.9
    assert 0 < small < error
    bootstrap = told_apart(rows(400), rows(300, 0, 1))
    assert (bootstrap.high - bootstrap.low) / 3.92 == pytest.approx(error, rel=0.35)


def test_sides_that_are_constant_or_tiny():
    same = np.ones((6, 4))
    assert area_between(same, same)[0] == 0.5
    assert area_between(rows(2), rows(3, 0, 1))[0] >= 0


def test_a_training_does_not_import_it():
    """It takes two seconds, and a stop waits for it."""
    program = ("import sys, striate.api.train, striate.metrics.difference; "
               "print([m for m in ('sklearn', 'scipy') if m in sys.modules])")  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"
