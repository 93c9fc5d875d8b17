"""ROC-AUC, average precision and their bootstrap, against scikit-learn, plain resampling and DeLong's variance."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from tagcli import metrics

EXACT = 1e-12
"""Both compute the same fractions in float64, in another order."""
SPREAD = 0.1
"""Of a standard deviation from 1,000 replicates; its own standard error is 2.2 %."""


@st.composite
def tables(draw, max_examples=14):
    """Labels, scores with many ties, and what of them is known [shape=(n_examples, n_tags)]."""
    shape = (draw(st.integers(0, max_examples)), draw(st.integers(1, 4)))
    labels = draw(hnp.arrays(np.bool_, shape))
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1e-30, -3.0, float("inf"), float("-inf")]) | st.floats(
        0, 1, width=32
    )
    scores = draw(hnp.arrays(draw(st.sampled_from([np.float32, np.float64])), shape, elements=values.map(np.float32)))
    known = draw(hnp.arrays(np.bool_, shape, elements=st.sampled_from([True, True, True, False])))
    return labels, scores, known


def reference(labels, scores):
    """What scikit-learn says of one tag; it takes no infinite scores, whose ranks do as well."""
    if labels.all() or not labels.any():
        return np.nan, np.nan
    ranks = np.unique(scores, return_inverse=True)[1]
    return roc_auc_score(labels, ranks), average_precision_score(labels, ranks)


@given(tables())
@settings(max_examples=300, deadline=None)
@example((np.zeros((0, 2), bool), np.zeros((0, 2)), np.zeros((0, 2), bool)))
def test_both_measures_are_those_of_scikit_learn(table):
    labels, scores, known = table
    expected = [reference(labels[row, tag], scores[row, tag]) for tag, row in enumerate(known.T)]
    areas, precisions = np.array(expected).T
    np.testing.assert_allclose(metrics.roc_auc(labels, scores, known), areas, rtol=0, atol=EXACT)
    np.testing.assert_allclose(metrics.average_precision(labels, scores, known), precisions, rtol=0, atol=EXACT)
    area, precision = reference(labels[known], scores[known])
    assert metrics.micro_roc_auc(labels, scores, known) == pytest.approx(area, abs=EXACT, nan_ok=True)
    assert metrics.micro_average_precision(labels, scores, known) == pytest.approx(precision, abs=EXACT, nan_ok=True)


@given(tables())
@settings(max_examples=50, deadline=None)
def test_a_score_of_nan_is_a_cell_that_is_not_known(table):
    labels, scores, known = table
    missing = np.where(known, scores, np.nan)
    np.testing.assert_array_equal(metrics.roc_auc(labels, missing), metrics.roc_auc(labels, scores, known))


@given(tables())
@settings(max_examples=50, deadline=None)
def test_what_is_not_turns_the_area_round(table):
    labels, scores, known = table
    np.testing.assert_allclose(
        metrics.roc_auc(~labels, scores, known), 1 - metrics.roc_auc(labels, scores, known), rtol=0, atol=EXACT
    )


def test_known_values():
    labels = np.array([[1], [0], [1], [0]], dtype=bool)
    assert metrics.roc_auc(labels, [[0.9], [0.8], [0.7], [0.1]]).tolist() == [0.75]
    assert metrics.average_precision(labels, [[0.9], [0.8], [0.7], [0.1]])[0] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.roc_auc(labels, [[1], [1], [1], [1]]).tolist() == [0.5]
    assert metrics.average_precision(labels, [[1], [1], [1], [1]]).tolist() == [0.5]


def test_the_macro_mean_leaves_out_what_is_undefined_and_counts_the_rest():
    assert metrics.macro(np.array([0.5, np.nan, 1.0])) == (0.75, 2)
    value, n_defined = metrics.macro(np.array([np.nan]))
    assert np.isnan(value)
    assert n_defined == 0
    replicates = metrics.mean_over_tags(np.array([[0.5, 1.0], [0.5, np.nan], [np.nan, np.nan]]))
    np.testing.assert_array_equal(replicates, [0.75, 0.5, np.nan])


@pytest.mark.parametrize(
    ("labels", "scores", "known"),
    [((3, 2), (3, 1), None), ((3, 2), (3, 2), (2, 2)), ((3,), (3,), None), ((3, 2), (2, 3), None)],
)
def test_shapes_that_differ_are_refused(labels, scores, known):
    with pytest.raises(ValueError, match="one shape"):
        metrics.roc_auc(np.ones(labels, bool), np.ones(scores), None if known is None else np.ones(known, bool))


def test_groups_are_parallel_to_the_examples():
    with pytest.raises(ValueError, match="groups of shape"):
        metrics.bootstrap(np.ones((3, 1), bool), np.ones((3, 1)), groups=[0, 1], n_replicates=2, seed=0)


# The bootstrap


def make_table(n_examples=60, n_tags=3, seed=0, distance=1.0):
    generator = np.random.default_rng(seed)
    labels = generator.random((n_examples, n_tags)) < 0.3
    scores = np.round(generator.normal(size=labels.shape) + distance * labels, 1)  # with ties
    known = generator.random(labels.shape) < 0.9
    return labels, scores, known


@pytest.mark.parametrize("n_groups", [60, 7])
def test_a_replicate_is_what_is_measured_of_the_examples_that_were_drawn(n_groups):
    labels, scores, known = make_table()
    groups = np.arange(60) if n_groups == 60 else np.random.default_rng(1).integers(n_groups, size=60)
    n_replicates = 130  # more than are drawn at a time
    found = metrics.bootstrap(labels, scores, known, groups=groups * 10, n_replicates=n_replicates, seed=5)
    drawn = np.random.default_rng(5).integers(n_groups, size=(n_replicates, n_groups))
    for number, chosen in enumerate(drawn):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in chosen])
        expected = metrics.measure(labels[rows], scores[rows], known[rows])
        np.testing.assert_allclose(found.roc_auc[number], expected.roc_auc, rtol=0, atol=EXACT)
        np.testing.assert_allclose(found.average_precision[number], expected.average_precision, rtol=0, atol=EXACT)
        assert found.micro_roc_auc[number] == pytest.approx(float(expected.micro_roc_auc), abs=EXACT)
        precision = float(expected.micro_average_precision)
        assert found.micro_average_precision[number] == pytest.approx(precision, abs=EXACT)


def test_a_tag_that_is_undefined_is_so_in_every_replicate():
    labels, scores, known = make_table()
    labels[:, 1] = False
    found = metrics.bootstrap(labels, scores, known, n_replicates=20, seed=0)
    assert np.isnan(found.roc_auc[:, 1]).all()
    assert np.isnan(found.average_precision[:, 1]).all()
    assert np.isfinite(found.roc_auc[:, 0]).all()


def test_the_spread_is_that_of_delong():
    """DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44(3): variance of an area from its structural components."""
    generator = np.random.default_rng(3)
    labels = generator.random((800, 1)) < 0.4
    scores = generator.normal(size=(800, 1)) + labels
    positive, negative = scores[labels], scores[~labels]
    wins = (positive[:, None] > negative[None, :]).astype(float)
    variance = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    found = metrics.bootstrap(labels, scores, n_replicates=1000, seed=0)
    assert found.roc_auc[:, 0].std() == pytest.approx(np.sqrt(variance), rel=SPREAD)
    low, high = metrics.interval(found.roc_auc[:, 0])
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=SPREAD)
    assert low < float(metrics.roc_auc(labels, scores)[0]) < high


def test_examples_of_one_group_are_worth_one_example():
    labels, scores, _ = make_table(100, 1)
    alone = metrics.bootstrap(labels, scores, n_replicates=400, seed=0).roc_auc.std()
    copied = [np.repeat(each, 5, axis=0) for each in (labels, scores)]
    together = metrics.bootstrap(*copied, groups=np.repeat(np.arange(100), 5), n_replicates=400, seed=0).roc_auc.std()
    assert together == pytest.approx(alone, abs=EXACT)
    assert metrics.bootstrap(*copied, n_replicates=400, seed=0).roc_auc.std() < 0.6 * alone


def test_the_seed_decides_the_draws():
    labels, scores, known = make_table()
    one, same, other = (
        metrics.bootstrap(labels, scores, known, n_replicates=10, seed=seed).roc_auc for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_no_replicates_rank_nothing(monkeypatch):
    monkeypatch.setattr("tagcli.metrics.ranking.Ranking.__init__", lambda *_: pytest.fail("something was ranked"))
    assert metrics.bootstrap(*make_table(), n_replicates=0, seed=0).micro_roc_auc.shape == (0,)


def test_no_replicates_give_no_interval():
    found = metrics.bootstrap(*make_table(), n_replicates=0, seed=0)
    assert found.roc_auc.shape == (0, 3)
    assert all(np.isnan(metrics.interval(found.roc_auc[:, 0])))
    assert np.isnan(metrics.sign_p(found.roc_auc[:, 0]))


def test_an_interval_is_that_of_the_percentiles():
    assert metrics.interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))
    assert metrics.interval(np.array([np.nan, 0.5, np.nan])) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0] * 999, 0.002),
        ([-1.0] * 999, 0.002),
        ([0.0] * 10, 1.0),
        ([1.0] * 9 + [-1.0] * 10, 1.0),
        ([1.0] * 15 + [-1.0] * 4, 0.5),
    ],
)
def test_the_p_of_a_difference_is_the_share_on_the_other_side_of_0(differences, p):
    assert metrics.sign_p(np.array(differences)) == pytest.approx(p)
