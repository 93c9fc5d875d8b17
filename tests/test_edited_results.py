"""Results files edited by hand or made elsewhere: what says which tags a track has is enough."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagcli.edited_results import read_edited_results
from tagcli.errors import FailureCode, ResultsError
from tagcli.rows import Status


@pytest.fixture
def read(tmp_path):
    """Write a file and read it: tags and scores by path."""

    def read(content, name="results"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        results = read_edited_results(path)
        return {str(row.path): [(tag.tag, tag.score) for tag in row.tags] for row in results.rows}

    return read


@pytest.mark.parametrize(
    "content",
    [
        "path,tag,score\na.mp3,rock,0.5\nb.mp3,jazz,0.25\na.mp3,guitar,0.75\n",
        "\ufeffscore;tag;path\r\n0,5;rock;a.mp3\r\n0,25;jazz;b.mp3\r\n0,75;guitar;a.mp3\r\n",
        "tag\tnotes\tpath\tscore\nrock\tnice\ta.mp3\t0.5\njazz\t\tb.mp3\t.25\nguitar\t\ta.mp3\t0.75",
        "path,status,reason,rank,tag,score\na.mp3,ok,,7,guitar,0.75\na.mp3,ok,,2,rock,0.5\nb.mp3,ok,,,jazz,0.25\n",
        "sep=;\nPath; Tag ;Score\n;;\na.mp3;rock;0.5\nb.mp3;jazz;0.25\n\n;;\na.mp3;guitar;0.75\n",
        '{"path":"a.mp3","tags":[{"tag":"guitar","score":0.75},{"tag":"rock","score":0.5}]}\n\n'
        '{"path":"b.mp3","tags":[{"tag":"jazz","score":0.25}],"mine":1}',
        json.dumps(
            {
                "tracks": [
                    {"path": "a.mp3", "tags": [{"tag": "rock", "score": 0.5}, {"tag": "guitar", "score": 0.75}]},
                    {"path": "b.mp3", "tags": [{"tag": "jazz", "score": 0.25}]},
                ]
            },
            indent=1,
        ),
        json.dumps(
            [
                {"path": "a.mp3", "tags": [{"tag": "rock", "score": 0.5}, {"tag": "guitar", "score": 0.75}]},
                {"path": "b.mp3", "tags": [{"tag": "jazz", "score": 0.25}]},
            ]
        ),
    ],
    ids=["unsorted", "a spreadsheet's", "tabs", "ranks with gaps", "cleared rows", "json lines", "json", "json list"],
)
def test_formats(read, content):
    assert read(content) == {"a.mp3": [("guitar", 0.75), ("rock", 0.5)], "b.mp3": [("jazz", 0.25)]}


def test_tags_without_a_score_were_given_by_hand(read):
    assert read("path,tag\na.mp3, rock \na.mp3,jazz\na.mp3,\n") == {"a.mp3": [("rock", 1.0), ("jazz", 1.0)]}
    assert read('{"path":"a.mp3","tags":[{"tag":"rock"},{"tag":"jazz","score":null}]}') == {
        "a.mp3": [("rock", 1.0), ("jazz", 1.0)]
    }


def test_names_with_other_line_ends_are_read(read):
    row = json.dumps({"path": "a\u2028b\x85.mp3", "tags": [{"tag": "rock", "score": 1}]}, ensure_ascii=False)
    assert read(row + "\n" + row) == {"a\u2028b\x85.mp3": [("rock", 1.0)]}


def test_a_tag_that_is_there_twice_counts_once_with_its_best_score(read):
    assert read("path,tag,score\na.mp3,rock,0.1\na.mp3,rock,0.9\n") == {"a.mp3": [("rock", 0.9)]}


def test_what_failed_has_no_tags(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("path,status,reason,rank,tag,score\na.mp3,failed,empty,,,\n")
    (row,) = read_edited_results(path).rows
    assert (row.status, row.reason, row.tags) == (Status.FAILED, FailureCode.EMPTY, ())


def test_the_model_is_told_by_a_document(tmp_path):
    path = tmp_path / "results.json"
    document = {"model": {"name": "m", "sha256": "0" * 64}, "settings": {"clips": "all"}, "tracks": []}
    path.write_text(json.dumps(document))
    head = read_edited_results(path).head
    assert (head.name, head.sha256, head.settings) == ("m", "0" * 64, {"clips": "all"})
    for wrong in ({"model": None}, {"model": {"name": 1}}, {"settings": []}):
        path.write_text(json.dumps(document | wrong))
        assert read_edited_results(path).head is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no columns"),
        (b"hello\n", "no columns named path and tag"),
        (b"Pfad,Tag\na.mp3,rock\n", "no columns named path and tag"),
        (b'path,tag\na.mp3,"a\nb"\n', "control character"),
        (b"path,tag,score\na.mp3,rock,loud\n", "line 2: could not convert"),
        (b"path,tag,score\na.mp3,rock,0.5\na.mp3,rock,1.5\n", "line 3: score is 1.5"),
        (b"path,tag\n,rock\n", "line 2: path or tags are missing"),
        (b'{"path":"a.mp3"}\n', "line 1: path or tags"),
        (b'{"path":"a.mp3","tags":["rock"]}\n', "line 1: 'rock' is no tag"),
        (b'{"path":"a.mp3","tags":[]}\n{"path":\n', "line 2 is no JSON"),
        (b'{"tracks":{}}', "no list of tracks"),
        (b'{"format_version":1}', "no list of tracks"),
        (b"path,tag\na.mp3,caf\xe9\n", "not in UTF-8"),
        (b"{", "cannot be read as results"),
        (b'{"path":"a.mp3","status":"fine","tags":[]}\n', "line 1: 'fine' is not a valid Status"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_place(read, content, sentence):
    with pytest.raises(ResultsError, match=sentence):
        read(content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ResultsError, match="cannot be read"):
        read_edited_results(tmp_path / "no.csv")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.text('{}[]":,;path tag score\n0.5', max_size=80).map(str.encode)))
def test_anything_is_read_or_refused(tmp_path, content):
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        rows = list(read_edited_results(path).rows)
    except ResultsError:
        rows = []
    assert all(isinstance(row.path, Path) for row in rows)
