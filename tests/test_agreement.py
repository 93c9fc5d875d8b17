"""How closely a student follows its teacher: against SciPy and scikit-learn, plain resampling, and wrong input."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score

from tagcli.checkpoint import hash_artists
from tagcli.datasets import Manifest
from tagcli.errors import DatasetError
from tagcli.evaluation import Grouping, SystemScores, agree
from tagcli.evaluation.document import describe_agreement
from tagcli.evaluation.pairing import find_logits, mark_best
from tagcli.metrics import correlate, draw_weights, rank

EXACT = 1e-12
"""The same sums in float64, in another order."""
NEAR = 1e-9
"""The same, after logits; SciPy's own normalisation."""
TAGS = tuple("abcdefgh")
N_EXAMPLES = 80


def make_manifest(n_examples=N_EXAMPLES, *, n_artists=16, **columns):
    """Examples by artists who have several each, without labels."""
    paths = tuple(f"{row}.wav" for row in range(n_examples))
    nothing = np.zeros((n_examples, 0), dtype=bool)
    manifest = Manifest(
        name="held-out",
        root=None,
        tags=(),
        paths=paths,
        ids=paths,
        splits=("",) * n_examples,
        artists=tuple(f"artist {row % n_artists}" for row in range(n_examples)),
        starts_seconds=np.zeros(n_examples),
        durations_seconds=np.full(n_examples, math.nan),
        labels=nothing,
        known=nothing,
    )
    return replace(manifest, **columns)


def make_scores(n_examples=N_EXAMPLES, *, tags=TAGS, distance=0.7, seed=0):
    """Give what a teacher says, and a student that follows it; some scores tie, some are nearly 0."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-3, 2.5, size=(n_examples, len(tags))) - np.arange(len(tags))
    noise = generator.normal(size=logits.shape)
    pair = []
    for name, system_logits in (("teacher", logits), ("student", logits + distance * noise)):
        scores = (1 / (1 + np.exp(-system_logits.round(1)))).astype(np.float32)
        scores[:2] *= 1e-6
        pair.append(
            SystemScores(name=name, tags=tags, ids=tuple(f"{row}.wav" for row in range(n_examples)), scores=scores)
        )
    return pair


def agree_on(manifest, student, teacher, *, n_replicates=0, **options):
    return agree(manifest, student=student, teacher=teacher, split=None, n_replicates=n_replicates, **options)


def pick_top(scores, n):
    """The best tags of one example, as a set; of equal ones the first."""
    return set(sorted(range(len(scores)), key=lambda tag: (-scores[tag], tag))[:n])


def reference(student, teacher, rows):
    """What SciPy and scikit-learn say of some examples [shape=(3, n_tags)], and the overlap."""
    own, taught = (system.scores[rows].astype(float) for system in (student, teacher))
    tops = [pick_top(scores, 3) for scores in taught]
    figures = []
    for tag in range(own.shape[1]):
        one, other = own[:, tag], taught[:, tag]
        kept = [np.clip(scores, 1e-6, 1 - 1e-6) for scores in (one, other)]
        is_top = [tag in top for top in tops]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.ConstantInputWarning)
            figures.append(
                (
                    stats.pearsonr(*(np.log(scores) - np.log1p(-scores) for scores in kept)).statistic,
                    stats.spearmanr(one, other).statistic,
                    roc_auc_score(is_top, one) if len(set(is_top)) == 2 else np.nan,
                )
            )
    overlaps = [len(pick_top(one, 5) & pick_top(other, 5)) for one, other in zip(own, taught, strict=True)]
    return np.array(figures).T, float(np.mean(overlaps))


# Correlations under weights


@st.composite
def weighted(draw):
    """Two columns with many ties, and weights, of which one is not 0."""
    n_examples = draw(st.integers(1, 12))
    values = st.sampled_from([0.0, 0.1, 0.2, 0.3, 7.0, -13.8]) | st.integers(-50, 50).map(float)
    one, other = (draw(hnp.arrays(np.float64, n_examples, elements=values)) for _ in range(2))
    weights = draw(hnp.arrays(np.int64, (3, n_examples), elements=st.integers(0, 3)))
    weights[:, draw(st.integers(0, n_examples - 1))] += 1
    return one, other, weights


@given(weighted())
@settings(max_examples=300, deadline=None)
def test_a_weight_says_how_often_an_example_is_there(table):
    one, other, weights = table
    ranks = [rank(column, weights) for column in (one, other)]
    found = correlate(one, other, weights), correlate(*ranks, weights)
    for replicate, counts in enumerate(weights):
        x, y = (np.repeat(column, counts) for column in (one, other))
        for column, given_ranks in zip((x, y), ranks, strict=True):
            np.testing.assert_array_equal(np.repeat(given_ranks[replicate], counts), stats.rankdata(column))
        is_constant = len(set(x)) == 1 or len(set(y)) == 1
        expected = (np.nan, np.nan) if is_constant else (stats.pearsonr(x, y)[0], stats.spearmanr(x, y)[0])
        for values, value in zip(found, expected, strict=True):
            assert values[replicate] == pytest.approx(value, abs=NEAR, nan_ok=True)


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, -13.8])
def test_a_constant_has_no_correlation_whatever_rounding_leaves(value):
    values, others = np.full(30, value), np.arange(30.0)
    weights = np.random.default_rng(0).integers(0, 4, size=(100, 30))
    assert np.isnan(correlate(values, others, weights)).all()
    assert np.isnan(correlate(others, values, weights)).all()
    weights[:, 1] = np.arange(100) % 2
    values[1] = 5.0  # which every second replicate draws
    assert np.isnan(correlate(others, values, weights)).tolist() == [True, False] * 50


# The figures


def test_figures_are_those_of_scipy_and_scikit_learn():
    teacher, student = make_scores()
    found = agree_on(make_manifest(), student, teacher)
    figures, overlap = reference(student, teacher, slice(None))
    for expected, tag in zip(figures.T, found.per_tag, strict=True):
        assert (tag.pearson.value, tag.spearman.value, tag.roc_auc.value) == pytest.approx(tuple(expected), abs=NEAR)
    n_top = [sum(tag in pick_top(scores, 3) for scores in teacher.scores) for tag in range(len(TAGS))]
    assert [tag.n_top for tag in found.per_tag] == n_top
    is_tested = np.array(n_top) >= 10
    assert 2 < is_tested.sum() < len(TAGS)
    assert [tag.tag for tag in found.tested] == [tag for tag, tested in zip(TAGS, is_tested, strict=True) if tested]
    means = (found.pearson.value, found.spearman.value, found.roc_auc.value)
    assert means == pytest.approx(tuple(figures[:, is_tested].mean(axis=1)), abs=NEAR)
    assert found.overlap.value == pytest.approx(overlap, abs=EXACT)
    assert (found.n_examples, found.n_artists, found.undefined) == (N_EXAMPLES, 16, ())


def test_intervals_are_those_of_plain_resampling_of_artists():
    n_replicates = 70  # more than are drawn at a time
    teacher, student = make_scores()
    manifest = make_manifest()
    found = agree_on(manifest, student, teacher, n_replicates=n_replicates, seed=3)
    assert (found.grouping, found.n_groups) == (Grouping.ARTIST, 16)
    artists = np.arange(N_EXAMPLES) % 16
    replicates = []
    for drawn in np.random.default_rng(3).integers(16, size=(n_replicates, 16)):
        rows = np.concatenate([np.flatnonzero(artists == artist) for artist in drawn])
        replicates.append(reference(student, teacher, rows))
    is_tested = [tag.is_tested for tag in found.per_tag]
    means = np.nanmean([figures[:, is_tested] for figures, _ in replicates], axis=2).T
    overlaps = [overlap for _, overlap in replicates]
    estimates = (found.pearson, found.spearman, found.roc_auc, found.overlap)
    for estimate, values in zip(estimates, (*means, overlaps), strict=True):
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))), abs=NEAR)
    first = [figures[0, 0] for figures, _ in replicates]
    assert found.per_tag[0].pearson.low == pytest.approx(np.quantile(first, 0.025), abs=NEAR)


def test_the_replicates_are_those_of_the_bootstrap_of_labels():
    groups = np.array([4, 4, 9, 2])
    weights = np.concatenate(list(draw_weights(groups, n_replicates=70, seed=1)))
    drawn = np.random.default_rng(1).integers(3, size=(70, 3))
    np.testing.assert_array_equal(weights, [[list(row).count(group) for group in (1, 1, 2, 0)] for row in drawn])


def test_whoever_says_the_same_agrees():
    teacher, _ = make_scores()
    found = agree_on(make_manifest(), replace(teacher, name="copy"), teacher, n_replicates=20)
    for tag in found.per_tag:
        assert tag.pearson.value == pytest.approx(1, abs=EXACT)
        assert tag.spearman.low == pytest.approx(1, abs=EXACT)
    assert found.overlap == replace(found.overlap, value=5.0, low=5.0, high=5.0)
    opposite = agree_on(make_manifest(), replace(teacher, scores=1 - teacher.scores.astype(float)), teacher)
    assert opposite.spearman.value == pytest.approx(-1, abs=EXACT)


def test_order_and_spelling_of_the_students_tags_and_examples_do_not_matter():
    teacher, student = make_scores()
    rows, columns = np.random.default_rng(1).permutation(N_EXAMPLES), np.arange(len(TAGS))[::-1]
    other = SystemScores(
        name=student.name,
        tags=tuple(TAGS[column].upper() for column in columns),
        ids=tuple(student.ids[row] for row in rows),
        scores=student.scores[rows][:, columns],
    )
    one, two = (agree_on(make_manifest(), each, teacher, n_replicates=5) for each in (student, other))
    assert [tag.pearson for tag in one.per_tag] == [tag.pearson for tag in two.per_tag]
    assert (one.roc_auc, one.spearman) == (two.roc_auc, two.spearman)


def test_labels_are_not_looked_at():
    teacher, student = make_scores()
    labels = np.random.default_rng(0).random((N_EXAMPLES, 2)) < 0.5
    labelled = make_manifest(tags=("a", "polka"), labels=labels, known=labels)
    plain = make_manifest()
    assert agree_on(labelled, student, teacher, n_replicates=5) == agree_on(plain, student, teacher, n_replicates=5)


def test_the_best_tags_are_those_of_the_whole_vocabulary():
    teacher, student = make_scores()
    part = replace(student, tags=(*TAGS[2:], "x"), scores=student.scores[:, [*range(2, 8), 0]])
    found = agree_on(make_manifest(), part, teacher, n_replicates=5)
    assert (found.only_teacher, found.only_student) == (("a", "b"), ("x",))
    assert [tag.tag for tag in found.per_tag] == list(TAGS[2:])
    whole = agree_on(make_manifest(), student, teacher, n_replicates=5).per_tag[2:]
    assert [(tag.n_top, tag.roc_auc, tag.pearson) for tag in found.per_tag] == [
        (tag.n_top, tag.roc_auc, tag.pearson) for tag in whole
    ]
    overlaps = []
    for own, taught in zip(part.scores, teacher.scores, strict=True):
        overlaps.append(len({part.tags[tag] for tag in pick_top(own, 5)} & {TAGS[tag] for tag in pick_top(taught, 5)}))
    assert found.overlap.value == pytest.approx(np.mean(overlaps), abs=EXACT)


@given(hnp.arrays(np.float32, (4, 6), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_the_best_are_marked(scores, n_best):
    for row, marks in zip(scores, mark_best(scores, n_best), strict=True):
        assert set(np.flatnonzero(marks)) == pick_top(row, n_best)


def test_logits_keep_away_from_what_is_not_finite():
    assert find_logits(np.array([0.5, 0.0, 1.0, 1e-9])) == pytest.approx([0, -13.8155, 13.8155, -13.8155], abs=1e-4)


# What is not tested, seen, known or heard


@pytest.mark.parametrize(("n_top", "is_tested"), [(9, False), (10, True)])
def test_a_tag_is_tested_from_ten_examples_on(n_top, is_tested):
    teacher, student = make_scores()
    scores = np.full(teacher.scores.shape, 0.1, dtype=np.float32) * (8 - np.arange(8))  # a, b, c are the best
    scores[:n_top, 7] = 0.9
    found = agree_on(make_manifest(), student, replace(teacher, scores=scores))
    assert found.per_tag[7].n_top == n_top
    assert ("h" in [tag.tag for tag in found.tested]) is is_tested
    assert ("h" in [tag.tag for tag in found.untested]) is not is_tested


def test_what_is_constant_is_undefined_and_counted_out():
    teacher, student = make_scores()
    scores = student.scores.copy()
    scores[:, 0] = 0.1
    found = agree_on(make_manifest(), replace(student, scores=scores), teacher, n_replicates=10)
    assert found.undefined == ("a",)
    assert math.isnan(found.per_tag[0].pearson.value)
    assert math.isnan(found.per_tag[0].spearman.low)
    assert found.per_tag[0].roc_auc.value == 0.5
    others = [tag.pearson.value for tag in found.tested if tag.tag != "a"]
    assert found.pearson.value == pytest.approx(np.mean(others), abs=EXACT)
    tag = describe_agreement(found)["per_tag"][0]
    assert tag["pearson"] is tag["spearman_low"] is None


def test_one_example_has_an_overlap_and_nothing_else():
    teacher, student = make_scores(1)
    found = agree_on(make_manifest(1), student, teacher, n_replicates=3)
    assert found.tested == ()
    assert all(math.isnan(each.value) for each in (found.pearson, found.spearman, found.roc_auc))
    assert 0 <= found.overlap.low <= found.overlap.value <= 5


def test_with_no_more_than_five_tags_all_are_the_best():
    teacher, student = make_scores(tags=TAGS[:5])
    assert math.isnan(agree_on(make_manifest(), student, teacher, n_replicates=5).overlap.high)
    teacher, student = make_scores(tags=TAGS[:6])
    assert 4 <= agree_on(make_manifest(), student, teacher).overlap.value <= 5


def test_examples_that_one_of_them_does_not_know_are_counted_and_left_out():
    teacher, student = make_scores()
    taught, own = teacher.scores.copy(), student.scores.copy()
    taught[3], own[4], own[5, 7] = np.nan, np.nan, np.nan
    part = SystemScores(name="part", tags=TAGS, ids=student.ids[:-2], scores=own[:-2])
    found = agree_on(make_manifest(), part, replace(teacher, scores=taught))
    assert (found.n_examples, found.n_unheard, found.n_missing) == (N_EXAMPLES - 5, 3, 2)
    rows = [row for row in range(N_EXAMPLES - 2) if row not in (3, 4, 5)]
    assert found.per_tag[0].pearson.value == pytest.approx(reference(student, teacher, rows)[0][0, 0], abs=NEAR)


def test_artists_that_the_student_was_trained_on_are_seen_data():
    teacher, student = make_scores()
    seen = agree_on(make_manifest(), student, teacher, trained_on=hash_artists(["ARTIST  3", "somebody"]))
    assert (seen.is_seen, seen.n_seen) == (True, 5)
    assert not agree_on(make_manifest(), student, teacher, trained_on=hash_artists(["somebody"])).is_seen
    assert agree(make_manifest(), student=student, teacher=teacher, split="train", n_replicates=0).is_seen


def test_tracks_are_drawn_where_no_artist_is_known():
    teacher, student = make_scores()
    anonymous = make_manifest(artists=("",) * N_EXAMPLES)
    assert agree_on(anonymous, student, teacher).grouping is Grouping.TRACK
    with pytest.raises(DatasetError, match="knows no artists"):
        agree_on(anonymous, student, teacher, by=Grouping.ARTIST)


@pytest.mark.parametrize("score", [-0.01, 1.01, 3.0, math.inf, -math.inf])
def test_scores_that_have_no_logits_are_refused(score):
    teacher, student = make_scores()
    scores = student.scores.copy()
    scores[0, 0] = score
    with pytest.raises(DatasetError, match="student has scores that do not lie between 0 and 1"):
        agree_on(make_manifest(), replace(student, scores=scores), teacher)
    with pytest.raises(DatasetError, match="teacher has scores"):
        agree_on(make_manifest(), student, replace(teacher, scores=scores, name="teacher"))


def test_nothing_in_common_is_refused():
    teacher, student = make_scores()
    with pytest.raises(DatasetError, match="student and teacher have no tag in common"):
        agree_on(make_manifest(), replace(student, tags=tuple("stuvwxyz")), teacher)
    with pytest.raises(DatasetError, match="student has scores of no example of held-out"):
        agree_on(make_manifest(), replace(student, ids=tuple(map(str, range(N_EXAMPLES)))), teacher)
    with pytest.raises(DatasetError, match="teacher has heard no example"):
        agree_on(make_manifest(), student, replace(teacher, scores=np.full_like(teacher.scores, np.nan)))
