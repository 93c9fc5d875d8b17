"""Every published form, small and real-shaped: read to the same manifest by content, and refused in one sentence."""

import base64
import gzip
import json
import math
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagcli.datasets import TagChoice, open_dataset
from tagcli.datasets import lastfm as lastfm_reader
from tagcli.datasets.msd_ids import MsdIds, make_paths
from tagcli.datasets.text_files import read_tag_list
from tagcli.errors import DatasetError
from tagcli.results import CSV_COLUMNS
from tagcli.rows import Row, Status
from tagcli.tags import Category, ScoredTag

TRACKS = ["TRAAAAK128F9318786", "TRBCDEW128F429D538", "TRAAABD128F429CF47", "TRZZZBD128F429CF47"]
NUMBERS = ["3974574", "354621", "47123789", "88123"]
MSD_TAGS = ["rock", "pop", "female vocalists"]


def tags_of(manifest, row):
    return {tag for tag, is_there in zip(manifest.tags, manifest.labels[row], strict=True) if is_there}


def refuse(source, message, **options):
    """Have a data set refused in one sentence that names a file."""
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(source, **options)
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")


# Last.fm


def make_lastfm(path, pairs, *, tids=TRACKS, tags=(*MSD_TAGS, "seen live"), more=""):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE tids (tid TEXT); CREATE TABLE tags (tag TEXT);"
            f"CREATE TABLE tid_tag (tid INT, tag INT, val FLOAT); {more}"
        )
        database.executemany("INSERT INTO tids VALUES (?)", [(tid,) for tid in tids])
        database.executemany("INSERT INTO tags VALUES (?)", [(tag,) for tag in tags])
        database.executemany("INSERT INTO tid_tag VALUES (?, ?, ?)", pairs)
        database.commit()
    return path


@pytest.fixture
def lastfm(tmp_path):
    pairs = [(1, 1, 100), (1, 2, 51), (1, 4, 50), (2, 1, 50.5), (2, 3, 10), (3, 2, 100), (3, 3, 99), (4, 4, 100)]
    return make_lastfm(tmp_path / "any name", pairs)


def test_lastfm_tags_count_above_the_threshold(lastfm):
    found = open_dataset(lastfm)
    assert found.ids == tuple(TRACKS)
    assert found.paths[:2] == ("A/A/A/TRAAAAK128F9318786.mp3", "B/C/D/TRBCDEW128F429D538.mp3")
    expected = [{"rock", "pop"}, {"rock"}, {"pop", "female vocalists"}, {"seen live"}]
    assert [tags_of(found, row) for row in range(4)] == expected
    lower = open_dataset(lastfm, threshold=49.0)
    assert tags_of(lower, 0) == {"rock", "pop", "seen live"}


def test_lastfm_is_read_as_its_own_query_reads_it(lastfm):
    query = (
        "SELECT tags.tag FROM tid_tag, tids, tags WHERE tags.ROWID = tid_tag.tag AND tid_tag.tid = tids.ROWID"
        " AND tids.tid = ? AND tid_tag.val > 50"
    )
    found = open_dataset(lastfm)
    with closing(sqlite3.connect(lastfm)) as database:
        for row, track in enumerate(TRACKS):
            assert tags_of(found, row) == {tag for (tag,) in database.execute(query, (track,))}


def test_lastfm_tags_are_counted_among_the_wanted_tracks(lastfm, tmp_path):
    (tmp_path / "train_x_msd_id.txt").write_text(f"{TRACKS[2]}\n{TRACKS[3]}\n")
    (tmp_path / "test_x_msd_id.txt").write_text(f"{TRACKS[0]}\n")
    (tmp_path / "unique_tracks.txt").write_text(
        f"{TRACKS[0]}<SEP>SOAPDEY12A81C210A9<SEP>Billie Holiday<SEP>Nobody\n{TRACKS[2]}<SEP>SO<SEP>Grand Funk<SEP>x\n"
    )
    lists = [tmp_path / "train_x_msd_id.txt", tmp_path / "test_x_msd_id.txt"]
    found = open_dataset(lastfm, split_files=lists, choice=TagChoice(top=1))
    assert found.tags == ("pop",)
    assert dict(zip(found.ids, found.splits, strict=True)) == {
        TRACKS[0]: "test",
        TRACKS[2]: "train",
        TRACKS[3]: "train",
    }
    assert found.artists == ("Billie Holiday", "Grand Funk", "")


def test_numbers_beside_the_lists_say_where_previews_lie(lastfm, tmp_path):
    (tmp_path / "train_x_msd_id.txt").write_text("\n".join(TRACKS[:2]))
    (tmp_path / "train_x_7d_id.txt").write_text("\n".join(NUMBERS[:2]))
    found = open_dataset(lastfm, split_files=[tmp_path / "train_x_msd_id.txt"])
    assert found.paths == ("3/9/3974574.clip.mp3", "3/5/354621.clip.mp3")
    (tmp_path / "train_x_7d_id.txt").write_text(NUMBERS[0])
    refuse(lastfm, "has 2 lines and .* 1", split_files=[tmp_path / "train_x_msd_id.txt"])


def test_nothing_is_written_beside_lastfm(lastfm, monkeypatch):
    with closing(sqlite3.connect(lastfm)) as database:  # of such a file any other reader makes two more
        database.execute("PRAGMA journal_mode = WAL")
    before = (lastfm.read_bytes(), sorted(lastfm.parent.iterdir()))
    meanwhile = []
    read_pairs = lastfm_reader._read_pairs

    def look_around(*arguments):
        pairs = read_pairs(*arguments)
        meanwhile.extend(sorted(lastfm.parent.iterdir()))
        return pairs

    monkeypatch.setattr(lastfm_reader, "_read_pairs", look_around)
    open_dataset(lastfm)
    assert (lastfm.read_bytes(), meanwhile) == before


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_truncated_lastfm_is_refused(tmp_path, share):
    path = make_lastfm(tmp_path / "big.db", [(1 + number % 4, 1 + number % 4, 100) for number in range(20_000)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refuse(path, "big.db cannot be read as Last.fm's tags")


@pytest.mark.parametrize("rows", [(10**13, 1, 2, 3), (-5, 0, 7, 2**62), (-(2**63), 2**63 - 1, 1, 2)])
def test_row_numbers_of_lastfm_may_be_any(tmp_path, rows):
    path = make_lastfm(tmp_path / "x.db", [], tids=[], tags=[])
    with closing(sqlite3.connect(path)) as database:
        database.executemany("INSERT INTO tids (ROWID, tid) VALUES (?, ?)", zip(rows, TRACKS, strict=True))
        database.executemany("INSERT INTO tags (ROWID, tag) VALUES (?, ?)", zip(rows[:3], MSD_TAGS, strict=True))
        pairs = [(rows[0], rows[1]), (rows[1], rows[0]), (rows[2], rows[2]), (rows[3], rows[0]), (4, rows[0])]
        database.executemany("INSERT INTO tid_tag VALUES (?, ?, 100)", pairs)
        database.commit()
    found = open_dataset(path)
    assert {id_: tags_of(found, row) for row, id_ in enumerate(found.ids)} == {
        TRACKS[0]: {MSD_TAGS[1]},
        TRACKS[1]: {MSD_TAGS[0]},
        TRACKS[2]: {MSD_TAGS[2]},
        TRACKS[3]: {MSD_TAGS[0]},
    }


def test_another_sqlite_file_is_refused(tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE tids (tid TEXT)")
        database.commit()
    refuse(tmp_path / "other.db", "has no track")
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("INSERT INTO tids VALUES ('TRAAAAK128F9318786')")
        database.commit()
    refuse(tmp_path / "other.db", "no such table")
    refuse(make_lastfm(tmp_path / "a.db", [(1, 9, 100)]), "a tag that is not in its table")
    refuse(make_lastfm(tmp_path / "b.db", [("x", 1, 100)]), "a row number is none")
    refuse(make_lastfm(tmp_path / "c.db", [(1, 1, 100)], tids=[None]), "None is no text")
    for number, tid in enumerate(("", "TR", "../../../../../x", "TRAAAAK128F931878\0")):
        refuse(make_lastfm(tmp_path / f"e{number}.db", [(1, 1, 100)], tids=[tid]), "is no track's identifier")
    (tmp_path / "list.txt").write_text("TRXXXXX128F9318786\n")
    refuse(make_lastfm(tmp_path / "d.db", []), "none of the tracks", split_files=[tmp_path / "list.txt"])


# Choi's split


@pytest.fixture
def msd(tmp_path):
    folder = tmp_path / "split"
    folder.mkdir()
    (folder / "tags.py").write_text("# top tags\nN = 3\nTAGS = ['rock', 'pop',\n        'female vocalists']\n")
    for split, rows in {"train": [0], "valid": [1], "test": [2, 3]}.items():
        (folder / f"{split}_x_msd_id.txt").write_text("\n".join(TRACKS[row] for row in rows) + "\n")
        (folder / f"{split}_x_7d_id.txt").write_text("\n".join(NUMBERS[row] for row in rows) + "\n")
    np.save(folder / "valid_y.npy", np.array([[True, False, True]]))
    np.save(folder / "test_y.npy", np.array([[False, True, False], [True, True, True]]))
    return folder


def test_msd_splits_are_read_and_one_without_labels_is_left_out(msd, caplog):
    found = open_dataset(msd)
    assert found.tags == tuple(MSD_TAGS)
    assert found.ids == tuple(TRACKS[1:])
    assert found.splits == ("validation", "test", "test")
    assert found.paths == ("3/5/354621.clip.mp3", "4/7/47123789.clip.mp3", "8/8/88123.clip.mp3")
    np.testing.assert_array_equal(found.labels, [[1, 0, 1], [0, 1, 0], [1, 1, 1]])
    assert "train_y.npy is not there, so the split train" in caplog.text


def test_msd_lists_may_be_gzipped_and_fewer(msd):
    for split in ("train", "valid", "test"):
        path = msd / f"{split}_x_7d_id.txt"
        names = "".join(f"{n[0]}/{n[1]}/{n}.npy\n" for n in path.read_text().split())
        (msd / f"{split}_x_filename.txt.gz").write_bytes(gzip.compress(names.encode()))
        path.unlink()
        (msd / f"{split}_x_msd_id.txt").unlink()
    found = open_dataset(msd)
    assert found.ids == tuple(NUMBERS[1:])
    assert found.paths[0] == "3/5/354621.clip.mp3"


def test_msd_tags_may_be_told(msd):
    (msd / "tags.py").unlink()
    refuse(msd, "no tags.txt .* --tags")
    assert open_dataset(msd, choice=TagChoice(tags=("a", "b", "c"))).tags == ("a", "b", "c")
    (msd / "tags.txt").write_text("x\ny\nz\n")
    assert open_dataset(msd, choice=TagChoice(tags=("z", "x"))).tags == ("z", "x")


def test_msd_previews_lie_where_the_template_says(msd):
    template = "{A}/{B}/{C}/{track_id}-{a}{b}-{id7}.mp3"
    assert open_dataset(msd, path_template=template).paths[0] == "B/C/D/TRBCDEW128F429D538-35-354621.mp3"
    for wrong, message in [
        ("{x}.mp3", "has the field 'x'; .* has track_id, A, B, C, id7, a, b"),
        ("{id7.real}", "has the field 'id7.real'"),
        ("{id7!r}", "has the field"),
        ("{id7:>9}", "has the field"),
        ("{id7", "cannot be read"),
        ("/{id7}.mp3", "names no file below"),
        ("../{id7}.mp3", "names no file below"),
        ("x.mp3", "names no file below"),
    ]:
        refuse(msd, message, path_template=wrong)
    with pytest.raises(DatasetError, match=r"field 'a'; .* has track_id, A, B, C"):
        make_paths("{a}.mp3", MsdIds(tracks=TRACKS, numbers=None), table=Path("x"))


def test_wrong_msd_files_are_refused(msd):
    matrix = msd / "test_y.npy"
    content = matrix.read_bytes()
    objects = np.empty((2, 3), dtype=object)
    for wrong, message in [
        (np.zeros((2, 4), dtype=bool), r"shape \(2, 4\), but test_x_msd_id.txt has 2 lines and there are 3 tags"),
        (np.zeros((3, 3), dtype=bool), r"shape \(3, 3\)"),
        (np.zeros(6, dtype=bool), r"shape \(6,\)"),
        (np.full((2, 3), 0.5), "something else than 0 and 1"),
        (np.full((2, 3), "x"), "something else than 0 and 1"),
    ]:
        np.save(matrix, wrong)
        refuse(msd, message)
    np.save(matrix, objects, allow_pickle=True)
    refuse(msd, "test_y.npy cannot be read as a matrix of numbers .*[Oo]bject")
    for size in (0, 5, 60, len(content) - 1):
        matrix.write_bytes(content[:size])
        refuse(msd, "test_y.npy cannot be read as a matrix of numbers")
    matrix.write_bytes(content)
    (msd / "test_x_7d_id.txt").write_text("1234567\n")
    refuse(msd, "has 2 lines and .* 1")
    (msd / "test_x_7d_id.txt").write_text("1234567\n../etc\n")
    refuse(msd, "Line 2 of .* not 7digital's number")
    (msd / "test_x_msd_id.txt").write_text(f"{TRACKS[0]}\nSOAPDEY12A81C210A9\n")
    refuse(msd, "Line 2 of .* not a track's identifier")
    for split in ("valid", "test"):
        (msd / f"{split}_y.npy").unlink()
    refuse(msd, "no split with labels")


def test_tags_in_python_are_parsed_and_never_run(tmp_path):
    path = tmp_path / "tags.py"
    path.write_text("import os\nos.mkdir('ran')\nX: list[str] = ['a', 'b']\n")
    assert read_tag_list(path) == ("a", "b")
    path.write_text("tags = ('a',)\n")
    assert read_tag_list(path) == ("a",)
    for text, message in [("tags = [1]", "no list of tags"), ("tags = [", "is no Python"), ("['a', 'a']", "twice")]:
        path.write_text(text)
        with pytest.raises(DatasetError, match=message):
            read_tag_list(path)
    assert not Path("ran").exists()


# MagnaTagATune


def make_annotations(folder, rows, header=("clip_id", "guitar", "no voice", "mp3_path")):
    lines = ["\t".join(f'"{cell}"' for cell in row) for row in (header, *rows)]
    (folder / "annotations_final.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def magnatagatune(tmp_path):
    rows = [
        ("2", "0", "1", "f/american_bach-bwv54-01-aria-30-59.mp3"),
        ("6", "1", "0", "b/zilla-x-01-y-0-29.mp3"),
        ("10", "1", "1", "c/zilla-x-02-z-0-29.mp3"),
    ]
    make_annotations(tmp_path, rows)
    return tmp_path


def test_magnatagatune_is_split_by_folder(magnatagatune, caplog):
    for source in (magnatagatune, magnatagatune / "annotations_final.csv"):
        found = open_dataset(source)
        assert found.tags == ("guitar", "no voice")
        assert found.ids == ("2", "6", "10")
        assert found.splits == ("test", "train", "validation")
        assert found.artists == ("american_bach", "zilla", "zilla")
        assert found.paths[1] == "b/zilla-x-01-y-0-29.mp3"
        np.testing.assert_array_equal(found.labels, [[0, 1], [1, 0], [1, 1]])
    assert "clip_info_final.csv is not there" in caplog.text


def test_magnatagatune_artists_are_in_the_other_table(magnatagatune):
    text = '"clip_id"\t"track_number"\t"title"\t"artist"\n"2"\t"1"\t"Aria"\t"Caf\xe9"\n"6"\t"1"\t"y"\t"Zilla"\n'
    (magnatagatune / "clip_info_final.csv").write_bytes(text.encode("latin-1"))
    assert open_dataset(magnatagatune).artists == ("Caf\ufffd", "Zilla", "zilla")
    (magnatagatune / "clip_info_final.csv").write_text("clip_id\ttitle\n2\tx\n")
    refuse(magnatagatune, "has no column 'artist'")


def test_wrong_annotations_are_refused(magnatagatune):
    make_annotations(magnatagatune, [("2", "0", "2", "f/a.mp3")])
    refuse(magnatagatune, "Line 2 of .* has '2' for 'no voice', not 0 or 1")
    make_annotations(magnatagatune, [("2", "0", "f/a.mp3")])
    refuse(magnatagatune, "Line 2 of .* has 3 cells where the first line has 4")
    make_annotations(magnatagatune, [("2", "0", "1", "../a.mp3")])
    refuse(magnatagatune, "leads out of")
    make_annotations(magnatagatune, [])
    refuse(magnatagatune, "holds no line below its header")


@pytest.fixture
def mtt_index(tmp_path):
    index = "2\tf/bach-a-01-b-30-59.mp3\n6\tc/zilla-x-01-y-0-29.mp3\n7\t0/zilla-x-01-z-0-29.mp3\n"
    (tmp_path / "index_mtt.tsv.gz").write_bytes(gzip.compress(index.encode()))
    (tmp_path / "test_gt_mtt.tsv.gz").write_bytes(gzip.compress(b"2\t[0.0, 1.0]\n"))
    (tmp_path / "val_gt_mtt.tsv").write_text("6\t[1, 1]\n")
    return tmp_path


def test_an_index_with_lists_of_labels_is_read(mtt_index):
    refuse(mtt_index, "no tags.txt .* --tags")
    for source in (mtt_index, mtt_index / "index_mtt.tsv.gz"):
        found = open_dataset(source, choice=TagChoice(tags=("guitar", "slow")))
        assert (found.ids, found.splits) == (("2", "6"), ("test", "validation"))
        assert (found.artists, found.paths[0]) == (("bach", "zilla"), "f/bach-a-01-b-30-59.mp3")
        np.testing.assert_array_equal(found.labels, [[0, 1], [1, 1]])


def test_wrong_lists_of_labels_are_refused(mtt_index):
    told = {"choice": TagChoice(tags=("guitar", "slow"))}
    for text, message in [
        ("6\t[1, 1, 0]\n", "Line 1 of .* no list of 2 numbers"),
        ("6\t[1, 0.5]\n", "no list of 2 numbers"),
        ("6\tx\n", "no list of 2 numbers"),
        ("8\t[1, 1]\n", "the clip 8, which .* does not have"),
        ("6\n", "does not have an identifier, a tabulator and a value"),
        ("", "is empty"),
    ]:
        (mtt_index / "val_gt_mtt.tsv").write_text(text)
        refuse(mtt_index, message, **told)
    packed = (mtt_index / "test_gt_mtt.tsv.gz").read_bytes()
    (mtt_index / "val_gt_mtt.tsv").write_text("6\t[1, 1]\n")
    (mtt_index / "test_gt_mtt.tsv.gz").write_bytes(packed[:-4])
    refuse(mtt_index, "damaged gzip file", **told)
    for path in mtt_index.glob("*gt*"):
        path.unlink()
    refuse(mtt_index, "No list of labels", **told)


# MTG-Jamendo

JAMENDO = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"


@pytest.fixture
def jamendo(tmp_path):
    parts = {
        "train.tsv": "track_0000241\tartist_000005\talbum_000033\t41/241.mp3\t340.1\tgenre---rock\n",
        "validation.tsv": "track_0000773\tartist_000104\talbum_000126\t73/773.mp3\t275.3\tgenre---rock\tgenre---pop\n",
        "test.tsv.gz": "track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tmood/theme---happy\n",
    }
    for name, line in parts.items():
        content = (JAMENDO + line).encode()
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (tmp_path / f"autotagging-{name}").write_bytes(packed)
    return tmp_path


def test_jamendo_files_of_a_set_are_read_together(jamendo):
    for source in (jamendo, jamendo / "autotagging-train.tsv", jamendo / "autotagging-test.tsv.gz"):
        found = open_dataset(source)
        assert found.name == "autotagging"
        assert found.splits == ("train", "validation", "test")
        assert found.ids == ("track_0000241", "track_0000773", "track_0000215")
        assert found.artists == ("artist_000005", "artist_000104", "artist_000014")
        assert found.paths == ("41/241.mp3", "73/773.mp3", "15/215.mp3")
        assert found.tags == ("genre---rock", "genre---pop", "mood/theme---happy")
        assert [tags_of(found, row) for row in range(3)] == [
            {"genre---rock"},
            {"genre---rock", "genre---pop"},
            {"mood/theme---happy"},
        ]
        np.testing.assert_array_equal(found.durations_seconds, [340.1, 275.3, 151.4])


def test_of_several_jamendo_sets_one_is_named(jamendo):
    (jamendo / "moodtheme-train.tsv").write_bytes((jamendo / "autotagging-train.tsv").read_bytes())
    refuse(jamendo, "more than one set .* autotagging-train.tsv, moodtheme-train.tsv")
    assert open_dataset(jamendo / "moodtheme-train.tsv").splits == ("train",)


def test_an_empty_jamendo_file_of_a_set_is_refused(jamendo):
    (jamendo / "autotagging-validation.tsv").write_bytes(b"")
    refuse(jamendo / "autotagging-train.tsv", "autotagging-validation.tsv holds no track below the header")


def test_wrong_jamendo_files_are_refused(jamendo):
    path = jamendo / "autotagging-train.tsv"
    line = path.read_text().splitlines()[1]
    for text, message in [
        (JAMENDO, "holds no track"),
        (f"{JAMENDO}{line}\ntrack\tx\n", "Line 3 of .* has 2 cells and no tag"),
        (JAMENDO + line.replace("340.1", "long"), "duration 'long'"),
        (JAMENDO + line.replace("41/", "../"), "leads out of"),
        (f"{JAMENDO}{line}\n{line}\n", "track_0000241 is twice"),
        ((JAMENDO + line).encode() + b"\xff", r"not in UTF-8 \(line 2\)"),
    ]:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        refuse(path, message)


# Tables and JSON


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("names", [("path", "labels"), ("file", "tags"), ("Path", "Tag")])
def test_tables_are_read_whatever_separates_their_cells(tmp_path, delimiter, names):
    path, labels = names
    lines = [
        [path, "artist", "split", labels],
        ["a.mp3", "x", "train", "rock | pop"],
        ["b.mp3", "y", "val", ""],
    ]
    found = open_dataset(write(tmp_path / "table", "\ufeff" + "\n".join(delimiter.join(line) for line in lines)))
    assert (found.paths, found.root) == (("a.mp3", "b.mp3"), tmp_path)
    assert (found.artists, found.splits) == (("x", "y"), ("train", "validation"))
    assert [tags_of(found, row) for row in range(2)] == [{"rock", "pop"}, set()]


def test_one_line_a_tag_is_one_example(tmp_path):
    text = "path,tag,artist\na.mp3,rock,x\nb.mp3,pop,y\na.mp3,jazz,x\n"
    found = open_dataset(write(tmp_path / "t.csv", text))
    assert found.paths == ("a.mp3", "b.mp3")
    assert [tags_of(found, row) for row in range(2)] == [{"rock", "jazz"}, {"pop"}]
    refuse(write(tmp_path / "t.csv", text.replace("jazz,x", "jazz,z")), "Line 4 of .* another artist")


def test_excerpts_and_known_tags_are_read(tmp_path):
    lines = ["a.mp3,30,59.1,rock,rock|pop,one", "a.mp3,,,jazz,*,two", "a.mp3,60,89.1,,,3"]
    text = "\n".join(["path,start_seconds,end,labels,known,id", *lines])
    found = open_dataset(write(tmp_path / "t.csv", text))
    assert found.ids == ("one", "two", "3")
    np.testing.assert_array_equal(found.starts_seconds, [30, 0, 60])
    np.testing.assert_array_equal(found.durations_seconds, [29.1, math.nan, 29.1])
    assert found.tags == ("jazz", "rock", "pop")
    np.testing.assert_array_equal(found.known, [[0, 1, 1], [1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(found.labels, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    text = "path,start,duration,labels\na.mp3,30,29,rock\na.mp3,60,29,pop\n"
    assert open_dataset(write(tmp_path / "t.csv", text)).ids == ("a.mp3#30+29", "a.mp3#60+29")


def test_the_column_with_the_tags_may_be_named(tmp_path):
    path = write(tmp_path / "t.csv", "file,Genre\na.mp3,rock\n")
    refuse(path, r"no column 'labels' \(it has: file, genre\)")
    assert open_dataset(path, labels_column="Genre").tags == ("rock",)
    refuse(path, "no column 'mood'", labels_column="mood")


def make_rows():
    def tag(name):
        return ScoredTag(tag=name, score=0.5, label=name, category=Category.OTHER)

    return [
        Row(path=Path("a.mp3"), status=Status.OK, tags=(tag("rock"), tag("R&B, soul"))),
        Row(path=Path("b.mp3"), status=Status.OK, tags=()),
        Row(path=Path("c.mp3"), status=Status.FAILED),
        Row(path=Path("\udcff.mp3"), status=Status.OK, tags=(tag("rock"),)),
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_results_of_tagcli_are_read(tmp_path, form, caplog):
    rows = make_rows()
    if form == "csv":
        lines = [",".join(CSV_COLUMNS), "a.mp3,ok,,1,rock,.5", 'a.mp3,ok,,2,"R&B, soul",.4', "b.mp3,ok,,,,"]
        text = "\n".join([*lines, "c.mp3,failed,empty,,,"])
    else:
        fields = [row.to_dict() for row in rows]
        document = {"format_version": 1, "model": None, "settings": {}, "tracks": fields, "summary": {}}
        text = json.dumps(document) if form == "json" else "\n".join(map(json.dumps, fields))
    found = open_dataset(write(tmp_path / f"results.{form}", text))
    assert found.paths[:2] == ("a.mp3", "b.mp3")
    assert [tags_of(found, row) for row in range(2)] == [{"rock", "R&B, soul"}, set()]
    assert found.paths[2:] == (() if form == "csv" else ("\udcff.mp3",))
    assert "1 lines of" in caplog.text


def test_json_lines_have_the_names_of_tables(tmp_path):
    lines = [
        {"file": "a.mp3", "labels": ["rock", "pop"], "split": "dev", "artist": "x", "start": 30, "duration": 29.5},
        {
            "path": "x",
            "path_b64": base64.b64encode(b"\xfe.mp3").decode(),
            "tags": "rock|jazz",
            "known": ["rock", "pop"],
        },
    ]
    found = open_dataset(write(tmp_path / "t.jsonl", "\n\n".join(map(json.dumps, lines))))
    assert found.paths == ("a.mp3", "\udcfe.mp3")
    assert (found.splits, found.artists) == (("validation", ""), ("x", ""))
    assert (found.starts_seconds[0], found.durations_seconds[0]) == (30, 29.5)
    assert found.tags == ("rock", "jazz", "pop")
    np.testing.assert_array_equal(found.known, [[1, 1, 1], [1, 1, 1]])
    listed = open_dataset(write(tmp_path / "t.json", json.dumps(lines)))
    assert listed.fingerprint == found.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labels\n", "holds no line below its header"),
        ("path,labels\na.mp3\n", "Line 2 of .* has 1 cells where the first line has 2"),
        ("path,path\na,b\n", "two columns of one name"),
        ("name,labels\na,b\n", "no column 'path'"),
        ("path,labels\n,rock\n", "Line 2 of .* names no file"),
        ("path,labels\n/etc/passwd,rock\n", "line 2 of .* leads out of .* --audio"),
        ("path,labels,start\na.mp3,rock,soon\n", "the time 'soon'"),
        ("path,labels,start\na.mp3,rock,-1\n", "the time '-1'"),
        ("path,labels,start,end\na.mp3,rock,30,20\n", "without length"),
        ("path,labels,status\na.mp3,rock,failed\n", "holds no example"),
        ('{"path": "a.mp3"}\n', "Line 1 of .* has no tags"),
        ('{"path": "a.mp3", "tags": 3}\n', "Line 1 of .* is no example"),
        ('{"path": "a.mp3", "tags": [{"name": "x"}]}\n', "is no example"),
        ('{"path": "a.mp3", "tags": ["\\ud800"]}\n', "is no example"),
        ('{"path": "a.mp3", "tags": []}\n[1]\n', "Line 2 of .* is no example"),
        ('{"path": "a.mp3", "tags": []}\n{"pa', "Line 2 of .* is no JSON"),
        ('{"tags": []}\n', "names no file"),
        ("\n \n", "is empty"),
        ("", "is empty"),
        (b"path,labels\na.mp3,\xff\n", r"not in UTF-8 \(line 2\)"),
        (gzip.compress(b"path,labels\na.mp3,x\n", mtime=0)[:-9], "damaged gzip file"),
        (b"\x1f\x8bnothing", "damaged gzip file"),
        (b"ID3\x04\0\0\xff\xfb", "not in UTF-8"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, message):
    path = tmp_path / "table"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refuse(path, message)


@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: f"path,labels\n{text}".encode()))
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path, content):
    path = tmp_path / "any"
    path.write_bytes(content)
    with suppress(DatasetError):
        open_dataset(path)


def test_options_of_another_form_are_refused(tmp_path, msd):
    table = write(tmp_path / "t.csv", "path,labels\na.mp3,rock\n")
    for options in ({"threshold": 50.0}, {"path_template": "{id7}"}, {"from_fields": "genre"}):
        refuse(table, "is a table, for which --.* has no meaning", **options)
    refuse(msd, "a split of the Million Song Dataset, for which --labels-column", labels_column="x")
    refuse(tmp_path / "missing", "missing cannot be read")


# Folders


def test_a_sub_folder_is_a_tag(tmp_path, music, encode, caplog):
    from mutagen.id3 import ID3, TPE1

    for name in ("rock/a.mp3", "rock/Album/b.mp3", "jazz/deep/er/c.wav", "top.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        encode(tmp_path / name, music(0.2, 8000, n_channels=1), 8000)
    frames = ID3()
    frames.add(TPE1(encoding=3, text=["Someone"]))
    frames.save(tmp_path / "rock" / "a.mp3")
    (tmp_path / "rock" / "notes.txt").write_text("no audio")
    found = open_dataset(tmp_path)
    assert found.paths == ("jazz/deep/er/c.wav", "rock/a.mp3", "rock/Album/b.mp3")
    assert [tags_of(found, row) for row in range(3)] == [{"jazz"}, {"rock"}, {"rock"}]
    assert found.artists == ("er", "Someone", "Album")
    assert found.splits == ("", "", "")
    assert "1 files lie in no tag's folder" in caplog.text
    assert r"own fields (1 files), the names of their folders (2), or not known (0)" in caplog.text


def test_folders_called_as_splits_are_splits(tmp_path, music, encode):
    for name in ("train/rock/a.wav", "valid/rock/b.wav", "test/jazz/c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        encode(tmp_path / name, music(0.2, 8000, n_channels=1), 8000)
    found = open_dataset(tmp_path)
    assert found.splits == ("test", "train", "validation")
    assert (found.tags, found.artists) == (("rock", "jazz"), ("", "", ""))
    (tmp_path / "blues").mkdir()
    encode(tmp_path / "blues" / "d.wav", music(0.2, 8000, n_channels=1), 8000)
    assert set(open_dataset(tmp_path).tags) == {"train", "valid", "test", "blues"}


def test_without_labels_any_folder_of_audio_will_do(tmp_path, music, encode, caplog):
    for name in ("top.wav", "Band/a.wav", "Band/Album/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        encode(tmp_path / name, music(1.0, 8000, n_channels=1), 8000)
    found = open_dataset(tmp_path, wants_labels=False)
    assert (found.tags, found.labels.shape, found.known.shape) == ((), (3, 0), (3, 0))
    assert dict(zip(found.paths, found.artists, strict=True)) == {
        "top.wav": "",
        "Band/a.wav": "Band",
        "Band/Album/b.wav": "Album",
    }
    assert set(found.splits) == {""}
    assert "names of their folders (2), or not known (1)" in caplog.text
    refuse(tmp_path / "Band" / "Album", "no sub-folder with audio")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "No audio was found", wants_labels=False)


def test_without_labels_folders_called_as_splits_are_splits_all_the_same(tmp_path, music, encode):
    for name in ("top.wav", "Train/a.wav", "test/Band/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        encode(tmp_path / name, music(1.0, 8000, n_channels=1), 8000)
    found = open_dataset(tmp_path, wants_labels=False)
    rows = zip(found.paths, found.splits, found.artists, strict=True)
    assert {path: (split, artist) for path, split, artist in rows} == {
        "top.wav": ("", ""),
        "Train/a.wav": ("train", ""),
        "test/Band/b.wav": ("test", "Band"),
    }


def test_a_folder_without_audio_is_refused(tmp_path, music, encode):
    refuse(tmp_path, "No audio was found")
    encode(tmp_path / "a.wav", music(0.2, 8000, n_channels=1), 8000)
    refuse(tmp_path, "no sub-folder with audio, .* --from-fields genre")
    refuse(tmp_path, "No file of .* has a genre", from_fields="genre")


@pytest.mark.parametrize("kind", ["mp3", "flac", "m4a", "ogg", "wma", "wv"])
def test_a_library_is_read_by_its_genres(tmp_path, music, encode, kind):
    import mutagen

    names = {"mp3": ("TCON", "TPE1"), "m4a": ("\xa9gen", "\xa9ART"), "wma": ("WM/Genre", "Author")}
    genre_name, artist_name = names.get(kind, ("GENRE", "ARTIST"))
    genres = {"a": ["Rock"], "b": ["rock; Pop"], "c": ["Rock", "R&B/Soul"], "d": []}
    for name, values in genres.items():
        (tmp_path / "Artist" / "Album").mkdir(parents=True, exist_ok=True)
        path = encode(tmp_path / "Artist" / "Album" / f"{name}.{kind}", music(0.3, 44_100), 44_100)
        audio = mutagen.File(path)
        if audio.tags is None:
            audio.add_tags()
        for field, texts in ((genre_name, values), (artist_name, ["Someone"] if name == "a" else [])):
            if texts and kind == "mp3":
                audio.tags.add(getattr(mutagen.id3, field)(encoding=3, text=texts))
            elif texts:
                audio.tags[field] = texts
        audio.save()
    found = open_dataset(tmp_path, from_fields="genre")
    assert found.paths == tuple(f"Artist/Album/{name}.{kind}" for name in "abc")
    assert [tags_of(found, row) for row in range(3)] == [{"Rock"}, {"Rock", "Pop"}, {"Rock", "R&B/Soul"}]
    assert found.artists == ("Someone", "Album", "Album")


@pytest.mark.parametrize("kind", ["mp3", "flac", "m4a"])
@pytest.mark.parametrize("version", [3, 4])
def test_what_tagcli_added_to_a_library_is_no_truth(tmp_path, music, encode, kind, version):
    from tagcli.metadata import Dialect, FieldPolicy, Fields, Policies, apply_plan, plan_write

    for name, own in {"a": [], "b": ["Jazz"]}.items():
        path = encode(tmp_path / f"{name}.{kind}", music(0.3, 44_100), 44_100)
        for genres, policy in ((own, FieldPolicy.REPLACE), (["Rock", "Pop"], FieldPolicy.APPEND)):
            fields = Fields(tags=("rock",), scores=(0.5,), model="m", settings="s", genres=tuple(genres))
            plan = plan_write(path, fields, policies=Policies(genre=policy), dialect=Dialect(new_version=version))
            apply_plan(plan)
            if policy is FieldPolicy.REPLACE:  # from now on it is the user's
                forget_what_was_added(path)
    found = open_dataset(tmp_path, from_fields="genre")
    assert (found.paths, found.tags) == ((f"b.{kind}",), ("Jazz",))


def forget_what_was_added(path):
    import mutagen

    audio = mutagen.File(path)
    for key in [key for key in (audio.tags or {}).keys() if "TAGCLI_ADDED" in key.upper()]:  # noqa: SIM118  # lists
        del audio.tags[key]
    audio.save()


# The real files


def test_real_msd_labels(shared):
    found = open_dataset(shared / "data" / "msd")
    assert len(found) == 41_174
    assert [found.splits.count(split) for split in ("validation", "test")] == [12_634, 28_540]
    counts = dict(zip(found.tags, found.labels.sum(axis=0).tolist(), strict=True))
    assert (counts["rock"], counts["happy"]) == (6721, 125)
    assert len(np.unique(found.labels, axis=0)) == 3683
    assert found.labels.any(axis=1).all()
    names = (shared / "data" / "msd" / "test_x_filename.txt").read_text().split()
    assert found.select("test").paths == tuple(name.replace(".npy", ".clip.mp3") for name in names)


def test_real_jamendo_tags_are_those_of_the_published_models(shared):
    found = open_dataset(shared / "data" / "jamendo")
    assert [found.splits.count(split) for split in ("train", "validation", "test")] == [32_136, 10_888, 11_356]
    published = (shared / "weights" / "tags_jamendo50.txt").read_text().split("\n")
    assert set(found.tags) == {tag for tag in published if tag}


def test_real_magnatagatune_labels(shared):
    tags = read_tag_list(shared / "weights" / "tags_mtat50.txt")
    found = open_dataset(shared / "data" / "mtt", choice=TagChoice(tags=tags))
    assert [found.splits.count(split) for split in ("validation", "test")] == [1825, 5107]
    other = np.load(shared / "data" / "mtt" / "mtat20_binary.npy")
    rows = {id_: row for row, id_ in enumerate(found.ids)}
    both = [(rows[str(clip)], labels) for clip, *labels in other.tolist() if str(clip) in rows]
    assert len(both) > 5000
    for row, labels in both:
        np.testing.assert_array_equal(found.labels[row, :20], labels)


def test_real_library(shared):
    folder = shared / "data" / "magnatune"
    by_folder = open_dataset(folder / "tracks.csv", labels_column="folder_genre")
    assert dict(zip(by_folder.tags, by_folder.labels.sum(axis=0).tolist(), strict=True)) == {
        "classical": 95,
        "rock": 84,
        "electronic": 67,
        "pop": 66,
    }
    by_field = open_dataset(folder / "audio", from_fields="genre")
    assert len(by_field) == 312
    assert {f"audio/{path}" for path in by_field.paths} == set(by_folder.paths)
    assert dict(zip(by_folder.paths, by_folder.artists, strict=True)) == {
        f"audio/{path}": artist for path, artist in zip(by_field.paths, by_field.artists, strict=True)
    }
