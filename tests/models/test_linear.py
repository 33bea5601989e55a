"""Linear classifiers on features, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from striate.models.linear import FOLDS, STRENGTHS, cross_validated, fitted, folds_of, loss_of


def problem(images=90, features=12, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, images)
    centres = rng.normal(size=(classes, features))
    return 3 + 2 * (centres[truth] + rng.normal(size=(images, features))), truth


@pytest.mark.parametrize("strength", STRENGTHS)
def test_softmax_regression_is_that_of_scikit_learn(strength):
    x, truth = problem()
    ours = fitted(x, truth, 3, strength=strength)
    centred = x - x.mean(axis=0)
    scaled = centred / np.sqrt(x.var(axis=0).mean())
    theirs = LogisticRegression(C=1 / (strength * len(x)), tol=1e-8, max_iter=5000)
    theirs.fit(scaled, truth)
    a, b = ours.scores(x), theirs.decision_function(scaled)
    apart = (a - a.mean(axis=1, keepdims=True)) - (b - b.mean(axis=1, keepdims=True))
    assert np.abs(apart).max() < 0.02 * np.abs(b).max()


def test_several_labels_are_a_regression_for_each():
    x, truth = problem()
    table = np.stack([truth == 0, truth != 1], axis=1).astype(np.float32)
    ours = fitted(x, table, 2, strength=0.01)
    scaled = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0).mean())
    for column in range(2):
        # our loss is a mean over both columns
        theirs = LogisticRegression(C=1 / (2 * 0.01 * len(x)), tol=1e-8, max_iter=5000)
        theirs.fit(scaled, table[:, column])
        expected = theirs.decision_function(scaled)
        assert ours.scores(x)[:, column] == pytest.approx(expected, abs=0.1)


def test_the_chosen_strength_has_the_smallest_held_out_loss():
    x, truth = problem()
    chosen, scores = cross_validated(x, truth, 3)
    losses = {}
    for strength in STRENGTHS:
        held_out = np.zeros_like(scores)
        for fold in folds_of(truth, 0):
            rest = np.setdiff1d(np.arange(len(x)), fold)
            centred = x - x.mean(axis=0)
            scaled = centred / np.sqrt(x.var(axis=0).mean())
            own = LogisticRegression(C=1 / (strength * len(rest)), tol=1e-8, max_iter=5000)
            held_out[fold] = own.fit(scaled[rest], truth[rest]).decision_function(scaled[fold])
        losses[strength] = loss_of(held_out, truth)
    assert losses[chosen] == pytest.approx(min(losses.values()), rel=0.02)
    assert loss_of(scores, truth) == pytest.approx(losses[chosen], rel=0.02)


def test_folds_share_every_class_and_hold_each_image_once():
    truth = np.repeat([0, 1, 2], [30, 9, 3])
    folds = folds_of(truth, 0)
    assert sorted(np.concatenate(folds)) == list(range(42))
    for fold in folds:
        assert np.bincount(truth[fold], minlength=3).tolist() == [10, 3, 1]


def test_few_images_a_class_without_any_and_features_that_are_alike():
    x, truth = problem(images=5, classes=2)
    assert len(folds_of(truth, 0)) == FOLDS
    found = fitted(x, truth, 4)  # two classes have no image
    assert np.isfinite(found.weight).all()
    assert set(found.scores(x).argmax(axis=1)) <= {0, 1}
    alike = fitted(np.ones((6, 3)), np.array([0, 1] * 3), 2)
    assert np.isfinite(alike.scores(np.ones((1, 3)))).all()


def test_it_does_not_depend_on_the_number_of_threads():
    import torch

    x, truth = problem()
    threads, found = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(fitted(x, truth, 3).weight)
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert np.array_equal(*found)
