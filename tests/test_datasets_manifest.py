"""The manifest and its file: what is written is read again, whatever the names, and nothing leads out of its root."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tagcli.cli import app
from tagcli.datasets import Manifest, open_dataset
from tagcli.datasets.manifest import format_seconds, name_example
from tagcli.datasets.manifest_file import read_manifest, write_manifest
from tagcli.errors import DatasetError

TABLE = "path\tsplit\tartist\tstart_seconds\tduration_seconds\tlabels\tknown\n"

# Any text of a file system or of people: no tab or end of line; bytes that are not UTF-8 are surrogates from U+DC80 on
TEXT = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), max_size=8)
ODD_BYTES = st.binary(min_size=1, max_size=4).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
ANY_TEXT = st.one_of(TEXT, ODD_BYTES.filter(lambda text: not set(text) & set("\t\r\n\0")))
PATHS = ANY_TEXT.map(lambda text: f"a/{text.replace('/', '_')}.mp3").filter(lambda path: ".." not in path)
TAGS = ANY_TEXT.filter(lambda text: text and "|" not in text and text != "*")
STARTS = st.one_of(st.just(0.0), st.floats(0, 1e9, allow_subnormal=False))
DURATIONS = st.one_of(st.just(math.nan), st.floats(1e-3, 1e9))


@st.composite
def manifests(draw):
    n_examples, tags = draw(st.integers(1, 5)), tuple(draw(st.lists(TAGS, max_size=4, unique=True)))

    def column(values):
        return tuple(draw(st.lists(values, min_size=n_examples, max_size=n_examples)))

    cells = st.lists(st.booleans(), min_size=len(tags), max_size=len(tags))
    labels, known = (np.array(column(cells), dtype=bool).reshape(n_examples, len(tags)) for _ in range(2))
    paths = column(PATHS)
    starts, durations = np.array(column(STARTS)), np.array(column(DURATIONS))
    has_ids = draw(st.booleans())
    names = tuple(map(name_example, paths, starts.tolist(), durations.tolist()))
    assume(has_ids or len(set(names)) == n_examples)
    return Manifest(
        name=draw(TEXT.filter(bool)),
        root=Path("there"),
        tags=tags,
        paths=paths,
        ids=tuple(f"{number}{text}" for number, text in enumerate(column(ANY_TEXT))) if has_ids else names,
        splits=column(ANY_TEXT),
        artists=column(ANY_TEXT),
        starts_seconds=starts,
        durations_seconds=durations,
        labels=labels,
        known=known | labels,
    )


def make(paths=("a.mp3", "b.mp3"), tags=("rock", "pop"), **changes):
    """A manifest of whole files of which every tag is known and none is carried."""
    shape = (len(paths), len(tags))
    columns = {
        "name": "set",
        "root": Path("there"),
        "ids": tuple(paths),
        "splits": ("",) * len(paths),
        "artists": ("",) * len(paths),
        "starts_seconds": np.zeros(len(paths)),
        "durations_seconds": np.full(len(paths), math.nan),
        "labels": np.zeros(shape, dtype=bool),
        "known": np.ones(shape, dtype=bool),
    }
    return Manifest(paths=tuple(paths), tags=tuple(tags), **columns | changes)


@given(manifest=manifests())
@example(manifest=make(paths=('"quoted.mp3', "\ufeff.mp3", "back\\slash.mp3"), tags=(" ", '"', "\x85", "\u2028")))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, manifest):
    path = tmp_path / "set.tsv"
    write_manifest(manifest, path)
    for again in (read_manifest(path), open_dataset(path)):
        assert (again.name, again.tags, again.paths) == (manifest.name, manifest.tags, manifest.paths)
        assert (again.ids, again.splits, again.artists) == (manifest.ids, manifest.splits, manifest.artists)
        np.testing.assert_array_equal(again.starts_seconds, manifest.starts_seconds)
        np.testing.assert_array_equal(again.durations_seconds, manifest.durations_seconds)
        np.testing.assert_array_equal(again.labels, manifest.labels)
        np.testing.assert_array_equal(again.known, manifest.known)
        assert again.fingerprint == manifest.fingerprint
        assert again.root.resolve() == manifest.root.resolve()


@given(seconds=st.floats(0, 1e12))
@settings(max_examples=200, deadline=None)
def test_a_number_of_seconds_is_the_same_when_it_is_read(seconds):
    assert float(format_seconds(seconds)) == seconds
    assert format_seconds(30.0) == "30"


def test_examples_are_told_apart_by_their_excerpts():
    assert name_example("a.mp3", 0.0, math.nan) == "a.mp3"
    assert name_example("a.mp3", 30.0, 29.0) == "a.mp3#30+29"
    assert name_example("a.mp3", 10_000.25, math.nan) == "a.mp3#10000.25"


def test_without_a_description_the_table_is_enough(tmp_path):
    (tmp_path / "set.tsv").write_text("path\tlabels\nb.mp3\tpop|rock\na.mp3\tpop\nc.mp3\t\n")
    found = open_dataset(tmp_path / "set.tsv")
    assert (found.tags, found.paths, found.root) == (("pop", "rock"), ("b.mp3", "a.mp3", "c.mp3"), tmp_path)
    np.testing.assert_array_equal(found.labels, [[1, 1], [1, 0], [0, 0]])
    assert found.known.all()


def test_the_folder_may_be_another_one(tmp_path):
    write_manifest(make(), tmp_path / "set.tsv")
    found = open_dataset(tmp_path / "set.tsv", root=tmp_path / "other")
    assert found.locate(0) == tmp_path / "other" / "a.mp3"


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.mp3", "a/../../b.mp3", "a/..", "", "..", "\\\\x/../../../y"])
def test_a_path_out_of_the_root_is_refused(tmp_path, path):
    (tmp_path / "set.tsv").write_text(f"{TABLE}{path}\t\t\t\t\tpop\t*\n")
    with pytest.raises(DatasetError, match=r"leads out of .* --audio"):
        open_dataset(tmp_path / "set.tsv")


def test_a_path_in_the_folder_that_is_named_is_taken(tmp_path):
    (tmp_path / "set.tsv").write_text("path\tlabels\n/music/a/b.mp3\tpop\nc/./../d.mp3\tpop\n")
    assert open_dataset(tmp_path / "set.tsv", root=Path("/music")).paths == ("a/b.mp3", "d.mp3")


def test_splits_and_tags_that_are_not_there_are_named():
    manifest = make(splits=("train", "test"))
    assert manifest.select("test").paths == ("b.mp3",)
    with pytest.raises(DatasetError, match=r"no split 'validation' \(it has: test, train\)"):
        manifest.select("train", "validation")
    assert manifest.keep_tags(["pop"]).tags == ("pop",)
    with pytest.raises(DatasetError, match="the tag 'jazz'"):
        manifest.keep_tags(["pop", "jazz"])


def test_everything_that_is_learned_from_is_in_the_fingerprint():
    manifest = make()
    labels = np.array([[True, False], [False, False]])
    others = [
        make(paths=("a.mp3", "c.mp3")),
        make(tags=("pop", "rock")),
        make(splits=("train", "")),
        make(artists=("x", "")),
        make(labels=labels),
        make(known=labels),
        make(starts_seconds=np.array([0.0, 1.0])),
        make(durations_seconds=np.array([math.nan, 1.0])),
    ]
    assert len({other.fingerprint for other in [manifest, *others]}) == 9
    assert make(name="another", root=Path("elsewhere")).fingerprint == manifest.fingerprint


@pytest.mark.parametrize(
    "changes", [{"ids": ("a",)}, {"labels": np.ones((2, 2), dtype=bool), "known": np.zeros((2, 2), dtype=bool)}]
)
def test_a_manifest_that_contradicts_itself_is_not_made(changes):
    with pytest.raises(ValueError, match="set: "):
        make(**changes)
    with pytest.raises(ValueError, match="a tag occurs twice"):
        make(tags=("pop", "pop"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": ("a\tb.mp3", "c.mp3")}, "a tab or an end of line"),
        ({"artists": ("x\ny", "")}, "a tab or an end of line"),
        ({"artists": ("\ud800", "")}, "half a character"),
        ({"tags": ("a|b", "c")}, r"The tag 'a\|b' cannot stand"),
        ({"tags": ("*", "c")}, r"The tag '\*' cannot stand"),
    ],
)
def test_what_a_table_cannot_hold_is_not_written(tmp_path, changes, message):
    with pytest.raises(DatasetError, match=message):
        write_manifest(make(**changes), tmp_path / "set.tsv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "description", "message"),
    [
        (TABLE, None, "holds no example"),
        (f"{TABLE}a.mp3\t\t\t\t\tpop\n", None, "Line 2 of .* has 6 cells where the header has 7"),
        (f"{TABLE}a.mp3\t\t\t\t\tpop\t*\n\nb.mp3\n", None, "Line 3 of .* has 0 cells"),
        (f"{TABLE}a.mp3\t\t\tsoon\t\tpop\t*\n", None, "a start or a duration that is no number"),
        (f"{TABLE}a.mp3\t\t\t-1\t\tpop\t*\n", None, "a start or a duration that is no number from 0 up"),
        (f"{TABLE}a.mp3\t\t\t\tinf\tpop\t*\n", None, "a start or a duration that is no number from 0 up"),
        (f"{TABLE}a.mp3\t\t\t\t\tpop\t*\n", "format_version = 1\ntags = ['rock']\n", "the tag 'pop'"),
        (f"{TABLE}a.mp3\t\t\t\t\tpop\t*\n", "format_version = 2\n", "no description of a manifest"),
        (f"{TABLE}a.mp3\t\t\t\t\tpop\t*\n", "format_version = 1\ntags = [1]\n", "no description of a manifest"),
        (f"{TABLE}a.mp3\t\t\t\t\tpop\t*\n", "format_version = 1\nmore = 1\n", "no description of a manifest"),
        (f"{TABLE}a.mp3\t\t\t\t\tpop\t*\n", "tags = [", "is not TOML"),
    ],
)
def test_a_damaged_manifest_is_refused_in_a_sentence(tmp_path, table, description, message):
    (tmp_path / "set.tsv").write_text(table)
    if description is not None:
        (tmp_path / "set.toml").write_text(description)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(tmp_path / "set.tsv")
    assert re.search(r"set\.t(sv|oml)", caught.value.message)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path\tlabels\na.mp3\tpop\nb.mp3\tpop\na.mp3\trock\n", "Lines 2 and 4 of .* the same example, 'a.mp3'"),
        (
            "path\tstart_seconds\tlabels\na.mp3\t30\tpop\na.mp3\t30.0\tpop\n",
            "Lines 2 and 3 of .* the same example, 'a.mp3#30'",
        ),
        ("path\tlabels\tid\na.mp3\tpop\tx\nb.mp3\tpop\tx\n", "Lines 2 and 3 of .* the same example, 'x'"),
    ],
)
def test_an_example_that_is_twice_in_a_manifest_is_refused(tmp_path, table, said):
    (tmp_path / "set.tsv").write_text(table)
    with pytest.raises(DatasetError, match=f"{said}; leave one out"):
        read_manifest(tmp_path / "set.tsv")


def test_two_tracks_may_share_a_preview(tmp_path):
    (tmp_path / "set.tsv").write_text("path\tlabels\tid\na.mp3\tpop\tx\na.mp3\tpop\ty\na.mp3\tpop\ta.mp3\n")
    assert read_manifest(tmp_path / "set.tsv").ids == ("x", "y", "a.mp3")


def test_a_table_with_one_identifier_twice_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("path,tags,id\na.mp3,pop,7\nb.mp3,pop,7\n")
    with pytest.raises(DatasetError, match="t has the example '7' 2 times; leave all but one out"):
        open_dataset(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("set.tsv", "path\tlabels\na.mp3\tpop\nb\0.mp3\tpop\n"),
        ("set.jsonl", '{"path": "a.mp3", "tags": ["pop"]}\n{"path": "b\\u0000.mp3", "tags": ["pop"]}\n'),
    ],
)
def test_a_name_with_a_zero_byte_is_one_sentence(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    result = CliRunner().invoke(app, ["dataset", "check", str(tmp_path / name)])
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert (
        f"of {tmp_path / name} has the path 'b\\x00.mp3', and no name holds a zero byte; correct it." in result.stderr
    )
