"""Pairs of tags: co-occurrence and label vectors against counts by hand and the paper's tables, and their picture."""

import io
import json
import math
import re
import subprocess
import sys
from itertools import groupby

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy.stats import binomtest, norm, spearmanr, t
from test_evaluation import make_manifest

from tagcli.analysis.cooccurrence import MOST_TAGS, count_cooccurrences
from tagcli.analysis.label_vectors import LabelVectors, Measure, match_cooccurrence, read_label_vectors
from tagcli.analysis.tag_pairs import SHOWN_TAGS, choose_shown, find_tags, rank_pairs
from tagcli.checkpoint import load_tensors, read_header, save_checkpoint
from tagcli.datasets import open_dataset
from tagcli.errors import CheckpointError, DatasetError, OutputError
from tagcli.figures.heat_map import HeatMap, draw_heat_map
from tagcli.metrics import count_effectively, wilson_interval
from tagcli.weights.vocabularies import find_category, load_vocabulary

N_SIMULATIONS = 600
LEAST_COVERAGE = 0.92
"""Of 95 % intervals; the standard error of 600 is 1 %."""
EXACT = 1e-12
"""Of sums of a few products in float64."""
GOLDEN = 1e-3
"""The golden cosines are rounded to four digits."""
TABLE_3_ROW_1 = """alternative rock>rock indie rock>indie House>dance indie pop>indie classic rock>rock
electronica>electronic alternative>rock hard rock>rock electro>electronic House>electronic
alternative rock>alternative catchy>pop indie rock>rock 60s>oldies heavy metal>metal rnb>soul
ambient>electronic 90s>rock heavy metal>hard rock alternative>indie"""
TUPLES = {tuple(pair.split(">")) for pair in re.findall(r"(?:\w+ )?\w+>(?:hard rock|\w+)", TABLE_3_ROW_1)}


# Intervals of shares


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_intervals_are_those_of_scipy(n, share):
    hits = round(share * n)
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_of_no_example_there_is_no_interval():
    assert all(map(math.isnan, wilson_interval(0.0, 0)))


def few(n_groups):
    """What few groups leave of a count: one goes for their mean, and their spread is not known well."""
    return (n_groups - 1) / n_groups * (norm.ppf(0.975) / t.ppf(0.975, n_groups - 1)) ** 2


@given(hits=st_numpy.arrays(np.bool_, st.integers(2, 40)), copies=st.integers(1, 5), seed=st.integers(0, 99))
def test_copies_of_examples_tell_nothing_new(hits, copies, seed):
    groups = np.random.default_rng(seed).permutation(len(hits))
    n = count_effectively(np.tile(hits, copies), np.tile(groups, copies))
    is_sure = copies == 1 or hits.all() or not hits.any()
    assert n == pytest.approx(len(hits) * (1 if is_sure else few(len(hits))))


@given(st_numpy.arrays(np.bool_, st.integers(0, 40)), st.data())
def test_examples_in_groups_tell_no_more_than_single_ones(hits, data):
    groups = data.draw(st_numpy.arrays(np.intp, len(hits), elements=st.integers(0, 5)))
    n = count_effectively(hits, groups)
    assert 0 <= n <= len(hits) + EXACT
    assert (n > 0) == (len(hits) > 0)


@pytest.mark.parametrize("n_groups", [3, 6, 20])
def test_intervals_of_groups_hold_the_truth(n_groups):
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(n_groups), 15)
    held = 0
    for _ in range(N_SIMULATIONS):
        hits = generator.random(len(groups)) < np.repeat(generator.beta(1.5, 1.5, n_groups), 15)
        low, high = wilson_interval(float(hits.mean()), count_effectively(hits, groups))
        held += low <= 0.5 <= high
    assert held / N_SIMULATIONS >= LEAST_COVERAGE


# Co-occurrence


@given(st.data())
def test_shares_are_those_of_a_count_by_hand(data):
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(2, 5)))
    labels = data.draw(st_numpy.arrays(np.bool_, shape))
    labels[0, 0] = True
    known = data.draw(st_numpy.arrays(np.bool_, shape)) | labels
    tags = [f"tag {column}" for column in range(shape[1])]
    found = count_cooccurrences(make_manifest(labels, tags, known=known))
    expected = {}
    for a, tag_a in enumerate(tags):
        for b, tag_b in enumerate(tags):
            carriers = [row for row in range(shape[0]) if labels[row, a] and known[row, b]]
            if a != b and carriers:
                expected[tag_a, tag_b] = (sum(bool(labels[row, b]) for row in carriers), len(carriers))
    pairs = found.list_pairs(1000)
    assert {(pair.tag_a, pair.tag_b): (pair.n_together, pair.n_carriers) for pair in pairs} == expected
    assert all(pair.similarity == pair.n_together / pair.n_carriers for pair in pairs)
    keys = [(-pair.similarity, -pair.n_carriers) for pair in pairs]
    assert keys == sorted(keys)
    assert all(pair.low - EXACT <= pair.similarity <= pair.high + EXACT for pair in pairs)


def test_counts_are_exact_over_more_examples_than_are_counted_at_once():
    labels = np.ones((9001, 2), dtype=bool)
    labels[1::3, 1] = False
    (first, second) = count_cooccurrences(make_manifest(labels, ["a", "b"])).list_pairs(2)
    assert (first.tag_a, first.n_together, first.n_carriers) == ("b", 6001, 6001)
    assert (second.tag_a, second.n_together, second.n_carriers) == ("a", 6001, 9001)


def test_tracks_of_one_artist_make_an_interval_wider():
    labels = np.repeat([[True, True], [True, False]] * 10, 20, axis=0)
    wide, narrow = (
        count_cooccurrences(make_manifest(labels, ["a", "b"], artists=artists)).list_pairs(2)[1]
        for artists in ([f"artist {row // 20}" for row in range(400)], [""] * 400)
    )
    assert (wide.similarity, wide.n_carriers) == (narrow.similarity, narrow.n_carriers) == (0.5, 400)
    assert (wide.low, wide.high) == pytest.approx(wilson_interval(0.5, 20 * few(20)))
    assert (narrow.low, narrow.high) == pytest.approx(wilson_interval(0.5, 400))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.ones((3, 1), dtype=bool), "fewer than two tags"),
        (np.zeros((3, 2), dtype=bool), "no example that carries a tag"),
        (np.ones((1, MOST_TAGS + 1), dtype=bool), "too many pairs"),
    ],
)
def test_a_data_set_without_pairs_is_refused(labels, reason):
    manifest = make_manifest(labels, [f"tag {column}" for column in range(labels.shape[1])])
    with pytest.raises(DatasetError, match=reason):
        count_cooccurrences(manifest)


# Label vectors


def compare(vectors, measure=Measure.COSINE):
    tags = tuple(f"tag {row}" for row in range(len(vectors)))
    return LabelVectors(name="net", tags=tags, vectors=np.array(vectors, dtype=np.float64)).compare(measure)


def test_a_cosine_is_of_the_angle_and_a_product_of_the_lengths_too():
    vectors = [[1, 0], [1, 1], [0, 4], [-5, 0]]
    cosines, products = compare(vectors), compare(vectors, Measure.DOT)
    assert [(pair.rank, pair.tag_a, pair.tag_b) for pair in cosines.list_pairs()] == [
        (1, "tag 0", "tag 1"),
        (2, "tag 1", "tag 2"),
        (3, "tag 0", "tag 2"),
        (4, "tag 2", "tag 3"),
        (5, "tag 1", "tag 3"),
        (6, "tag 0", "tag 3"),
    ]
    assert [pair.similarity for pair in cosines.list_pairs()] == pytest.approx([0.5**0.5] * 2 + [0, 0, -(0.5**0.5), -1])
    assert [pair.similarity for pair in products.list_pairs()] == pytest.approx([4, 1, 0, 0, -5, -5])


@given(st_numpy.arrays(np.float64, (4, 3), elements=st.floats(-9, 9, width=32)), st.floats(0.1, 10))
def test_cosines_are_bounded_and_do_not_change_with_the_scale(vectors, factor):
    values, scaled = compare(vectors).values, compare(vectors * [[factor], [1], [1], [1]]).values
    assert np.all(np.abs(values[~np.isnan(values)]) <= 1)
    both = ~np.isnan(values) & ~np.isnan(scaled)
    np.testing.assert_allclose(values[both], scaled[both], atol=1e-6)


def test_a_vector_without_length_is_like_nothing():
    assert [(pair.tag_a, pair.tag_b) for pair in compare([[1, 0], [0, 0], [2, 1]]).list_pairs()] == [("tag 0", "tag 2")]


def test_the_vectors_are_the_rows_of_the_last_layer(tiny_checkpoint):
    found = read_label_vectors(tiny_checkpoint)
    assert found.tags == read_header(tiny_checkpoint).vocabulary.tags
    np.testing.assert_array_equal(found.vectors, load_tensors(tiny_checkpoint)["model.dense.weight"].numpy())


@pytest.mark.parametrize("damage", ["missing", "not finite", "cut", "of other tags"])
def test_a_checkpoint_without_label_vectors_is_refused(tiny_checkpoint, tmp_path, damage):
    tensors, path = load_tensors(tiny_checkpoint), tmp_path / "damaged.safetensors"
    if damage == "missing":
        del tensors["model.dense.weight"]
    elif damage == "not finite":
        tensors["model.dense.weight"][0, 0] = math.nan
    elif damage == "of other tags":
        tensors["model.dense.weight"] = tensors["model.dense.weight"][:3]
    save_checkpoint(path, read_header(tiny_checkpoint), tensors)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        read_label_vectors(path)


def test_alike_and_together_are_compared_over_common_tags():
    labels = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=bool)
    counted = count_cooccurrences(make_manifest(labels, ["C", "B", "a", "only here"]))
    vectors = np.array([[1.0, 0.0], [0.9, 0.5], [-0.2, 1.0], [1.0, 0.1]])
    found = LabelVectors(name="net", tags=("A", "b", "c", "only there"), vectors=vectors).compare(Measure.COSINE)
    match = match_cooccurrence(found, counted, n_top=2)
    assert match.n_pairs == 3
    together = {("A", "b"): 0.0, ("A", "c"): 0.5, ("b", "c"): 2 / 3}
    for (one, other), share in together.items():
        place = found.tags.index(one), found.tags.index(other)
        assert match.cooccurrences[place] == match.cooccurrences[place[::-1]] == pytest.approx(share)
    assert np.isnan(match.cooccurrences[3]).all()
    similarities = [found.values[found.tags.index(one), found.tags.index(other)] for one, other in together]
    assert match.rank_correlation == pytest.approx(spearmanr(similarities, list(together.values())).statistic)
    common = [(found.tags[row], found.tags[column]) for row, column in np.argwhere(match.is_common)]
    assert common == [("b", "c")]  # the two tuples are C > B and B > C, the two pairs A ~ b and b ~ c
    assert match.n_common == 1


def test_without_common_tags_there_is_nothing_to_compare():
    counted = count_cooccurrences(make_manifest(np.ones((2, 2), dtype=bool), ["tag 1", "b"]))
    with pytest.raises(DatasetError, match="no two tags in common"):
        match_cooccurrence(compare([[1, 0], [0, 1]]), counted, n_top=2)


# What the paper found


@pytest.fixture(scope="module")
def msd(shared):
    """Co-occurrences of the labels of the Million Song Dataset that are there: validation and test."""
    return count_cooccurrences(open_dataset(shared / "data" / "msd"))


@pytest.fixture(scope="module")
def compact(shared):
    """Label vectors of the weights that the paper's authors published."""
    with h5py.File(shared / "weights" / "choi2017" / "weights_theano.hdf5") as file:
        vectors = file["dense_1/dense_1_W"][()].T.astype(np.float64)
    return LabelVectors(name="compact", tags=load_vocabulary("msd50").tags, vectors=vectors)


def test_the_published_weights_have_the_pairs_of_table_3_in_order(compact, shared):
    golden = json.loads((shared / "golden" / "label_vectors.json").read_text())
    pairs = compact.compare(Measure.COSINE).list_pairs()[:20]
    assert [{pair.tag_a, pair.tag_b} for pair in pairs] == [
        set(pair) for pair in golden["paper_table3_row2_pairs_in_order"]
    ]
    assert [pair.similarity for pair in pairs] == pytest.approx(golden["our_cosine_of_the_paper_pairs"], abs=GOLDEN)
    printed = {rank: f"{pairs[int(rank) - 1].similarity:.2f}" for rank in golden["paper_similarity_at_rank"]}
    assert printed == {rank: f"{value:.2f}" for rank, value in golden["paper_similarity_at_rank"].items()}


def test_a_product_is_not_what_the_paper_has_measured(compact, shared):
    golden = json.loads((shared / "golden" / "label_vectors.json").read_text())
    paper = {frozenset(pair) for pair in golden["paper_table3_row2_pairs_in_order"]}
    top = {frozenset((pair.tag_a, pair.tag_b)) for pair in compact.compare(Measure.DOT).list_pairs()[:20]}
    assert len(paper & top) == 8


def test_labels_have_the_tuples_of_table_3(msd):
    assert len(TUPLES) == 20
    assert len(TUPLES & {(pair.tag_a, pair.tag_b) for pair in msd.list_pairs(20)}) >= 16


@pytest.mark.parametrize(
    ("tag_a", "tag_b", "published"),
    [("female vocalist", "female vocalists", 0.30), ("alternative rock", "alternative", 0.44)],
)
def test_labels_have_the_shares_of_the_paper(msd, tag_a, tag_b, published):
    share = msd.similarities[msd.tags.index(tag_a), msd.tags.index(tag_b)]
    assert share == pytest.approx(published, abs=0.06)  # other examples than the paper's: the 17 % with labels here


def test_what_is_alike_comes_together_as_often_as_the_paper_says(compact, msd):
    match = match_cooccurrence(compact.compare(Measure.COSINE), msd, n_top=20)
    assert match.rank_correlation == pytest.approx(0.563, abs=0.0005)  # .580 with the labels of the training split
    assert match.n_common == pytest.approx(11, abs=1)


# The tags of a picture


def test_the_shown_tags_are_of_the_papers_number_and_kinds():
    tags = load_vocabulary("msd50").tags
    shown = [tags[place] for place in choose_shown(tags, by_importance=[])]
    assert shown == list(SHOWN_TAGS)
    assert len(shown) == 23
    kinds = [kind.value for kind, _ in groupby(map(find_category, shown))]
    assert kinds == ["genre", "vocals", "instrument", "mood", "era"]


def test_of_other_tags_the_most_important_are_shown_by_kind():
    tags = [*(f"word {number}" for number in range(30)), "sad", "rock", "Guitar"]
    importance = [30, 31, 32, *range(30)]
    chosen = [tags[place] for place in choose_shown(tags, by_importance=importance)]
    assert chosen == ["rock", "sad", "Guitar", *(f"word {number}" for number in range(20))]
    assert choose_shown(["b", "a"], by_importance=[1, 0, 1]) == [1, 0]


def test_tags_are_found_by_spelling_before_letters():
    assert find_tags(["rock", "JAZZ", "rock"], ["Rock", "rock", "jazz"], source="x") == [1, 2]
    with pytest.raises(DatasetError, match="net does not have the tag 'polka'"):
        find_tags(["polka"], ["rock"], source="net")


def test_pairs_of_one_value_are_in_the_order_of_support_then_of_tags():
    values = np.array([[np.nan, 0.5, 0.5], [0.7, np.nan, np.nan], [0.5, np.nan, np.nan]])
    support = np.array([[0, 1.0, 1.0], [0, 0, 0], [2.0, 0, 0]])
    assert rank_pairs(values, support).tolist() == [[1, 0], [2, 0], [0, 1], [0, 2]]


# The picture


def draw(tags=("rock", "jazz", "sad"), *, format_="svg", low=0.0, values=None):
    stream = io.BytesIO()
    n_tags = len(tags)
    if values is None:
        values = np.arange(n_tags * n_tags, dtype=np.float64).reshape(n_tags, n_tags)
        values[0, 0] = np.nan
    kinds = tuple("mood" if tag == "sad" else "genre" for tag in tags)
    heat_map = HeatMap(
        title="a title of $x",
        tags=tuple(tags),
        kinds=kinds,
        values=values,
        row_name="rows",
        column_name="columns",
        scale_name="share in %",
        low=low,
        high=9.0,
        number_format=".1f",
    )
    draw_heat_map(heat_map, stream, format_=format_)
    return stream.getvalue()


def texts(svg):
    """The texts of a picture, which matplotlib leaves in comments."""
    return re.findall(r"<!-- (.*?) -->", svg.decode())


@pytest.mark.parametrize(("format_", "signature"), [("png", b"\x89PNG\r\n"), ("svg", b"<?xml"), ("pdf", b"%PDF-")])
@pytest.mark.parametrize("low", [0.0, -9.0])
def test_every_format_is_what_it_is_called(format_, signature, low):
    assert draw(format_=format_, low=low).startswith(signature)


def test_tags_numbers_axes_and_unit_are_written():
    written = texts(draw())
    assert written.count("rock") == written.count("jazz") == written.count("sad") == 2
    assert {f"{value}.0" for value in range(1, 9)} <= set(written)
    assert "nan" not in written
    assert {"rows", "columns", "share in %", "a title of $x"} <= set(written)


def test_many_tags_have_no_numbers_and_long_ones_are_cut():
    written = texts(draw([f"tag {number}" for number in range(41)]))
    assert "1600.0" not in written
    assert "tag 40" in written
    assert "x" * 29 + "…" in texts(draw(["x" * 300, "y"]))


def test_a_tag_is_no_formula_and_may_be_in_letters_that_the_font_does_not_have():
    assert draw([r"$\x$", "演歌", "<b>&"], format_="png")


def test_a_picture_may_have_nothing_to_show():
    assert draw(["rock"], values=np.full((1, 1), np.nan))


def test_without_matplotlib_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OutputError, match="tagcli\\[plots\\]"):
        draw()


def test_a_picture_needs_no_pyplot_and_the_room_no_matplotlib_until_it_draws():
    program = (
        "import io, sys, numpy, tagcli.figures.heat_map as room; assert 'matplotlib' not in sys.modules\n"
        "texts = dict.fromkeys(('title', 'row_name', 'column_name', 'scale_name'), 'x')\n"
        "heat_map = room.HeatMap(tags=('a',), kinds=('x',), values=numpy.ones((1, 1)), low=0.0, high=1.0, "
        "number_format='.1f', **texts)\n"
        "room.draw_heat_map(heat_map, io.BytesIO(), format_='svg'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
