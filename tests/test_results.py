"""Results files are read back as they were written, or refused with the place where they are damaged."""

import base64
import io
import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagcli.cli.options import ResultFormat
from tagcli.cli.output import make_writer
from tagcli.errors import FailureCode, ResultsError, SkipCode, WarningCode
from tagcli.results import Head, merge_results, open_results
from tagcli.rows import Row, Status, Written
from tagcli.tags import Category, ScoredTag

MODEL = {"name": "tiny", "sha256": "0" * 64}
SETTINGS = {"clips": "all", "top": 5, "threshold": 0.0, "device": "cpu"}
NOT_UTF8 = Path(os.fsdecode(b"caf\xe9/\xff\xfe.mp3"))


def scored(tag, score):
    return ScoredTag(tag=tag, score=score, label=tag, category=Category.OTHER)


TAGGED = Row(
    path=Path("a, [x]\n.mp3"),
    status=Status.OK,
    warnings=(WarningCode.TRUNCATED,),
    duration_seconds=61.235,
    n_clips=3,
    tags=(scored("rock", 0.5), scored('"sad", slow', 0.123457)),
    written=Written.PLANNED,
)
SILENT = Row(path=Path("b.mp3"), status=Status.SKIPPED, reason=SkipCode.SILENT, message="b is silent.")
FAILED = Row(path=NOT_UTF8, status=Status.FAILED, reason=FailureCode.EMPTY, message="It is empty; delete it.")
ROWS = [TAGGED, SILENT, FAILED]

PATHS = st.one_of(
    st.binary(min_size=1, max_size=12).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"x"))),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
).map(Path)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
ANY_ROW = st.builds(
    Row,
    path=PATHS,
    status=st.sampled_from(Status),
    reason=st.sampled_from([None, *FailureCode, *SkipCode]),
    message=st.none() | TEXTS | PATHS.map(str),
    warnings=st.lists(st.sampled_from(WarningCode), unique=True).map(tuple),
    duration_seconds=st.none() | st.floats(0, 1e9),
    n_clips=st.integers(0, 10**6),
    tags=st.lists(st.builds(scored, TEXTS, st.floats(0, 1)), max_size=6).map(tuple),
    written=st.none() | st.sampled_from(Written),
)


def text_of(rows, format_, *, model=MODEL, settings=SETTINGS, summary=None):
    """What the program writes."""
    stream = io.StringIO()
    writer = make_writer(ResultFormat(format_), stream)
    writer.begin({"model": model, "settings": settings})
    for row in rows:
        writer.write(row)
    writer.end(summary or {})
    return stream.getvalue()


def read(path):
    """The rows of a file, and its head."""
    with open_results(path) as results:
        return list(results.rows), results.head


@pytest.fixture
def store(tmp_path):
    """Write a results file, under a name that says nothing of its format."""

    def write(content, name="results.txt"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refusal(path):
    """The sentence of the error that reading a file ends with."""
    with pytest.raises(ResultsError) as caught:
        read(path)
    assert caught.value.path == path
    assert str(path) in caught.value.message
    assert caught.value.message.count("\n") == 0
    assert caught.value.message.endswith(".")
    return caught.value.message


# What was written is read


@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_rows_are_read_back_whole(format_, store):
    rows, head = read(store(text_of(ROWS, format_)))
    assert rows == ROWS
    assert head == (Head(**MODEL, settings=SETTINGS) if format_ == "json" else None)


def test_csv_gives_back_what_it_tells(store):
    rows, head = read(store(text_of([TAGGED, SILENT], "csv")))
    assert rows == [
        Row(path=TAGGED.path, status=Status.OK, tags=TAGGED.tags),
        Row(path=SILENT.path, status=Status.SKIPPED, reason=SkipCode.SILENT),
    ]
    assert head is None


@given(st.lists(ANY_ROW, max_size=6), st.sampled_from(["json", "jsonl"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_row_is_read_back_with_its_bytes(store, rows, format_):
    found, _ = read(store(text_of(rows, format_)))
    assert [row.to_dict() for row in found] == [row.to_dict() for row in rows]
    assert [os.fsencode(row.path) for row in found] == [os.fsencode(row.path) for row in rows]


@given(st.lists(ANY_ROW.filter(lambda row: not row.to_dict().keys() & {"path_b64"}), max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_csv_is_read_back(store, rows):
    text = text_of(rows, "csv")
    if "\r" in text or any(tag.tag == "" and tag.score == "" for row in rows for tag in row.tags):
        return  # before Python 3.13 the csv module writes a bare carriage return without quotes
    found, _ = read(store(text))
    assert text_of(found, "csv") == text


def test_csv_tracks_of_one_name_stay_two(store, caplog):
    names = [Path(os.fsdecode(raw)) for raw in (b"\xfe.mp3", b"\xff.mp3")]
    rows = [Row(path=path, status=Status.OK, tags=TAGGED.tags) for path in names]
    found, _ = read(store(text_of(rows, "csv")))
    assert [row.path for row in found] == [Path("\ufffd.mp3")] * 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "line 2" in caplog.text
    assert "not UTF-8" in caplog.text


@pytest.mark.parametrize("format_", ["json", "jsonl", "csv"])
def test_no_rows_are_no_error(format_, store):
    assert read(store(text_of([], format_)))[0] == []


@pytest.mark.parametrize("format_", ["json", "jsonl", "csv"])
def test_what_editors_and_other_systems_add_is_passed_over(format_, store):
    text = text_of([TAGGED, SILENT], format_)
    expected = read(store(text))
    assert read(store("\ufeff" + text)) == expected
    assert read(store("\n" + text + "\n\n")) == expected
    assert read(store(text_of([SILENT], format_).replace("\n", "\r\n"))) == read(store(text_of([SILENT], format_)))


@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_may_be_laid_out_otherwise(store, indent):
    document = json.loads(text_of(ROWS, "json"))
    path = store(json.dumps(document, indent=indent, sort_keys=True), "results.csv")
    assert read(path) == (ROWS, Head(**MODEL, settings=SETTINGS))


def test_rows_may_have_their_keys_in_another_order(store):
    lines = [json.dumps(row.to_dict(), sort_keys=True) + "\n" for row in ROWS]
    assert read(store("".join(lines), "results.json"))[0] == ROWS


def test_csv_files_may_be_strung_together(store):
    text = text_of([TAGGED, TAGGED], "csv") + text_of([SILENT, TAGGED], "csv")
    assert [row.path for row in read(store(text))[0]] == [TAGGED.path, TAGGED.path, SILENT.path, TAGGED.path]


def test_a_pipe_is_read_too():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        stream.write(text_of(ROWS, "jsonl"))
    try:
        assert read(Path(f"/dev/fd/{reader}"))[0] == ROWS
    finally:
        os.close(reader)


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_lines_are_read_as_they_are_asked_for(format_, store):
    path = store(text_of([TAGGED] * 2000, format_) + "damaged\n")
    with open_results(path) as results:
        assert next(results.rows).path == TAGGED.path


@pytest.mark.timeout(20)
def test_a_row_is_there_before_the_next_one_is_written():
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "w") as stream:
            stream.write(text_of([TAGGED], "jsonl"))
            stream.flush()
            with open_results(Path(f"/dev/fd/{reader}")) as results:
                assert next(results.rows) == TAGGED
    finally:
        os.close(reader)


@pytest.mark.parametrize(("told", "expected"), [({"interrupted": True}, True), ({"interrupted": False}, False)])
def test_an_interrupted_run_is_known(told, expected, store):
    with open_results(store(text_of(ROWS, "json", summary=told))) as results:
        assert results.is_interrupted is expected


# What a killed run leaves


def test_a_line_of_json_that_was_cut_is_left_out_with_a_warning(store, caplog):
    raw = text_of(ROWS, "jsonl").encode()
    start = raw.rindex(b"\n", 0, -1) + 1
    for end in range(start + len(b'{"path'), len(raw) - 1):
        caplog.clear()
        assert read(store(raw[:end]))[0] == ROWS[:2]
        assert [(record.levelno, record.name) for record in caplog.records] == [(logging.WARNING, "tagcli.results")]
        assert "line 3" in caplog.text
    assert read(store(raw[:-1]))[0] == ROWS


def test_a_file_with_nothing_but_a_cut_line_has_no_rows(store, caplog):
    assert read(store(text_of([TAGGED], "jsonl")[:20]))[0] == []
    assert "line 1" in caplog.text


def test_a_track_of_csv_that_was_cut_is_left_out_with_a_warning(store, caplog):
    tagged = [Row(path=Path(name), status=Status.OK, tags=TAGGED.tags) for name in ("a", "b")]
    whole = text_of([SILENT, *tagged], "csv").encode().splitlines(keepends=True)
    kept = {1: [], 2: ["b.mp3"], 3: ["b.mp3"], 4: ["b.mp3"], 5: ["b.mp3", "a"]}
    for n_lines, names in kept.items():
        for end in range(1, len(whole[n_lines])):
            caplog.clear()
            path = store(b"".join(whole[:n_lines]) + whole[n_lines][:end])
            assert [row.path.name for row in read(path)[0]] == names
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert ("the track a" in caplog.text, "the track b" in caplog.text) == (n_lines in (3, 4), n_lines == 5)


def test_a_quote_that_is_never_closed_is_no_cut_line(store):
    text = text_of([SILENT, SILENT], "csv")
    assert "line 2" in refusal(store(text.replace("b.mp3", '"b.mp3', 1)[:-1]))


# What is damaged


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "[]",
        "null",
        "{}",
        '{"path": "x"}',
        '{"path": "x", "status": "o\n',
        "\xff",
        b"\xff\xfe",
        b"\0\0\0",
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_named(line, store):
    first, second, third = text_of(ROWS, "jsonl").splitlines(keepends=True)
    if line == "":
        assert read(store(first + "\n" + third))[0] == [TAGGED, FAILED]
        return
    line = line if isinstance(line, bytes) else line.encode()
    sentence = refusal(store(first.encode() + line.rstrip() + b"\n" + second.encode() + third.encode()))
    assert "line 2" in sentence
    assert "mend" in sentence


FIELDS = TAGGED.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"path": None},
        {"path": ""},
        {"path": "a\0b"},
        {"path": "\ud800"},
        {"path_b64": 1},
        {"path_b64": ""},
        {"path_b64": "YS5t cDM="},
        {"path_b64": "AA=="},
        {"status": "fine"},
        {"status": None},
        {"status": []},
        {"reason": "bad"},
        {"reason": 0},
        {"message": 1},
        {"message": "\udfff"},
        {"warnings": None},
        {"warnings": ["loud"]},
        {"warnings": "truncated"},
        {"duration_seconds": -1},
        {"duration_seconds": "1"},
        {"duration_seconds": True},
        {"duration_seconds": 10**400},
        {"n_clips": 1.5},
        {"n_clips": -1},
        {"n_clips": True},
        {"n_clips": None},
        {"tags": {}},
        {"tags": ["rock"]},
        {"tags": [{"tag": "rock"}]},
        {"tags": [{"tag": "rock", "score": 1.1}]},
        {"tags": [{"tag": "rock", "score": -0.1}]},
        {"tags": [{"tag": "rock", "score": None}]},
        {"tags": [{"tag": "rock", "score": 0.5, "rank": 1}]},
        {"tags": [{"tag": "\ud800", "score": 0.5}]},
        {"tags": [{"tag": 5, "score": 0.5}]},
        {"written": "maybe"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_row_that_is_none_is_refused_in_every_format(change, store):
    fields = FIELDS | change
    with pytest.raises(ValueError, match=r"\w"):
        Row.from_dict(fields)
    assert "line 2" in refusal(store(text_of([SILENT], "jsonl") + json.dumps(fields) + "\n"))
    document = json.loads(text_of([SILENT], "json"))
    document["tracks"].append(fields)
    assert "track 2" in refusal(store(json.dumps(document)))


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_a_row_without_a_key_is_refused(key):
    with pytest.raises(ValueError, match=f"'{key}' is missing"):
        Row.from_dict({name: value for name, value in FIELDS.items() if name != key})


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(constant, store):
    text = text_of([TAGGED], "jsonl").replace("61.235", constant)
    assert "line 1" in refusal(store(text))


HEADER = "path,status,reason,rank,tag,score\n"


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        ("a\n", 2),
        ("a,ok,,1,rock\n", 2),
        ("a,ok,,1,rock,0.5,more\n", 2),
        ("a,ok,,1,rock,much\n", 2),
        ("a,ok,,1,rock,\n", 2),
        ("a,ok,,1,rock,1.5\n", 2),
        ("a,ok,,1,rock,nan\n", 2),
        ("a,ok,,2,rock,0.5\n", 2),
        ("a,ok,,x,rock,0.5\n", 2),
        ("a,ok,,,rock,0.5\n", 2),
        ("a,fine,,,,\n", 2),
        ("a,failed,bad,,,\n", 2),
        (",ok,,,,\n", 2),
        ("a,ok,,1,rock,0.5\na,ok,,3,sad,0.4\n", 3),
        ("a,ok,,1,rock,0.5\nb,ok,,2,sad,0.4\n", 3),
        ("a,ok,,1,rock,0.5\na,failed,empty,2,sad,0.4\n", 3),
        ("a,ok,,,,\na,ok,,2,sad,0.4\n", 3),
        ('"a\nb",ok,,,,\nx\n', 4),
        ('a,ok,,,,\n"b"x,ok,,,,\n', 3),
        ('a,ok,,,,\n"b,ok,,,,\nc,ok,,,,\n', 3),
        ("a,ok,,,,\nb\rc,ok,,,,\n", 3),
        ("a,ok,,,,\n\udcff,ok,,,,\n", 3),
    ],
)
def test_a_damaged_line_of_csv_is_named(lines, number, store):
    assert f"line {number} " in refusal(store((HEADER + lines).encode("utf-8", "surrogateescape")))


def test_a_line_of_csv_with_other_columns_is_told_so(store):
    assert "(5 cells, not 6)" in refusal(store(HEADER + "a,ok,,1,rock\n"))


@pytest.mark.parametrize("row", [None, 1, "a.mp3", []])
def test_what_is_no_row_of_a_document_is_refused(row, store):
    document = json.loads(text_of([SILENT], "json"))
    document["tracks"].append(row)
    assert "track 2" in refusal(store(json.dumps(document)))


def test_a_document_that_was_cut_is_refused(store):
    text = text_of(ROWS, "json")
    for end in (*range(20, len(text) - 3, 97), len(text) - 2):
        refusal(store(text[:end]))
    assert "line 3" in refusal(store(text.replace('"b.mp3",', '"b.mp3"')))
    assert "line 4" in refusal(store(text.encode().replace(b"delete", b"del\xffte")))


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.0, True])
def test_another_format_version_is_refused(version, store):
    document = json.loads(text_of(ROWS, "json")) | {"format_version": version}
    assert "format version" in refusal(store(json.dumps(document)))
    newer = {"format_version": 2, "rows": []}
    assert "format version 2" in refusal(store(json.dumps(newer)))
    assert "format version 2" in refusal(store(json.dumps(newer, indent=1)))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "tiny"},
        {"model": {}},
        {"model": {"name": "tiny", "sha256": None}},
        {"model": MODEL | {"more": 1}},
        {"model": MODEL | {"name": "\ud800"}},
        {"settings": None},
        {"settings": {"clips": "\ud800"}},
        {"settings": {"threshold": float("nan")}},
        {"summary": []},
        {"tracks": {}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_damaged_head_is_refused(change, store):
    assert "head" in refusal(store(json.dumps(json.loads(text_of(ROWS, "json")) | change)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("table.txt", "a.mp3\trock 0.50\n"),
        ("a.mp3", b"ID3\x04\x00\xff\xfe"),
        ("list.json", "[]\n"),
        ("other.json", '{"tracks": []}'),
        ("other.csv", "path,start_seconds,rock\n"),
        ("empty.json", ""),
        ("empty.csv", "\n"),
        ("utf16.jsonl", '{"path": 1}'.encode("utf-16")),
    ],
)
def test_what_is_no_results_file_is_refused(name, content, store):
    assert "is no results file" in refusal(store(content, name))


def test_an_empty_file_is_a_run_without_tracks(store):
    assert read(store("", "shard.jsonl")) == ([], None)


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    assert "No such file" in refusal(tmp_path / "nowhere.json")
    assert "directory" in refusal(tmp_path)


# Several as one


def merged(*paths):
    results = merge_results(paths)
    return [row.to_dict() for row in results.rows], results.head


def test_rows_of_several_files_follow_one_another(store):
    paths = [store(text_of([row], "jsonl"), str(number)) for number, row in enumerate(ROWS)]
    assert merged(*paths)[0] == [row.to_dict() for row in ROWS]
    assert merged(*reversed(paths))[0] == [row.to_dict() for row in reversed(ROWS)]


OK = Row(path=Path("x.mp3"), status=Status.OK)
SKIPPED = Row(path=Path("x.mp3"), status=Status.SKIPPED, reason=SkipCode.SILENT)
MISSING = Row(path=Path("x.mp3"), status=Status.FAILED, reason=FailureCode.MISSING)


@pytest.mark.parametrize("better", [(OK, SKIPPED), (OK, MISSING), (SKIPPED, MISSING)])
def test_the_better_row_of_a_track_is_kept_at_its_first_place(better, store):
    best, worst = better
    one = store(text_of([worst, SILENT], "jsonl"), "one")
    two = store(text_of([FAILED, best], "jsonl"), "two")
    assert merged(one, two)[0] == [row.to_dict() for row in (best, SILENT, FAILED)]
    assert merged(two, one)[0] == [row.to_dict() for row in (FAILED, best, SILENT)]


def test_the_last_of_equal_rows_is_kept(store):
    rows = [Row(path=Path("x.mp3"), status=Status.OK, n_clips=n) for n in (1, 2, 3)]
    one, two = store(text_of(rows[:1], "jsonl"), "one"), store(text_of(rows[1:], "jsonl"), "two")
    assert [row["n_clips"] for row in merged(one, two)[0]] == [3]
    assert [row["n_clips"] for row in merged(two, one)[0]] == [1]


def test_names_that_differ_in_their_bytes_stay_apart(store):
    rows = [Row(path=Path(os.fsdecode(raw)), status=Status.OK) for raw in (b"\xfe", b"\xff", b"\xef\xbf\xbd")]
    (found, _) = merged(store(text_of(rows, "jsonl")))
    assert [row.get("path_b64") for row in found] == ["/g==", "/w==", None]
    assert base64.b64decode(found[0]["path_b64"]) == b"\xfe"


def test_the_first_head_is_taken_and_the_device_may_differ(store):
    one = store(text_of([OK], "json", model=MODEL | {"name": "one"}), "one")
    two = store(text_of([SILENT], "json", settings=SETTINGS | {"device": "cuda"}), "two")
    assert merged(one, two)[1] == Head(name="one", sha256=MODEL["sha256"], settings=SETTINGS)
    assert merged(two, one)[1] == Head(**MODEL, settings=SETTINGS | {"device": "cuda"})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": MODEL | {"sha256": "1" * 64}}, "model"),
        ({"settings": SETTINGS | {"top": 6}}, "top"),
        ({"settings": SETTINGS | {"more": 1}}, "more"),
        ({"settings": {"top": 5}}, "clips, threshold"),
    ],
)
def test_results_of_another_run_are_refused(change, named, store):
    one, between = store(text_of([OK], "json"), "one"), store(text_of([SILENT], "jsonl"), "between")
    two = store(text_of([OK], "json", **change), "two")
    for paths in ([one, between, two], [two, one]):
        with pytest.raises(ResultsError, match=f"differ in {named},") as caught:
            merge_results(paths)
        assert all(str(path) in caught.value.message for path in (one, two))


def test_rows_of_an_unknown_model_are_not_given_to_a_known_one(store, caplog):
    known, unknown = store(text_of([OK], "json"), "known"), store(text_of([SILENT], "csv"), "unknown")
    assert merged(known, unknown)[1] is None
    assert str(unknown) in caplog.text
    caplog.clear()
    assert merged(known, store("", "empty.jsonl"))[1] == Head(**MODEL, settings=SETTINGS)
    assert merged(unknown)[1] is None
    assert caplog.text == ""


def test_one_interrupted_run_makes_the_whole_one(store, caplog):
    done = store(text_of([OK], "json", summary={"interrupted": False}), "done")
    ended = store(text_of([SILENT], "json", summary={"interrupted": True}), "ended")
    assert merge_results([ended, done]).is_interrupted
    assert str(ended) in caplog.text
    assert not merge_results([done]).is_interrupted


@given(st.lists(st.lists(ANY_ROW, max_size=5), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merging_twice_is_merging_once(store, files):
    paths = [store(text_of(rows, "json"), f"{number}.json") for number, rows in enumerate(files)]
    once = merge_results(paths)
    rows = list(once.rows)
    text = text_of(rows, "json")
    whole = store(text, "merged.json")
    assert text_of(merge_results([whole]).rows, "json") == text
    assert text_of(merge_results([whole, *paths, whole]).rows, "json") == text
    assert len({os.fsencode(row.path) for row in rows}) == len(rows)
    assert {row.path for row in rows} == {row.path for rows in files for row in rows}
