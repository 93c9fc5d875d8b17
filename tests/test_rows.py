"""A row says of a track exactly what the contract lists, whatever its name."""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tagcli.errors import FailureCode, SkipCode, WarningCode
from tagcli.rows import Status, Written, describe_path, make_row
from tagcli.tags import Category, Failure, TrackScores, Vocabulary

KEYS = ["path", "status", "reason", "message", "warnings", "duration_seconds", "n_clips", "tags", "written"]
VOCABULARY = Vocabulary(
    name="four",
    tags=("rock", "jazz", "sad", "90s"),
    categories=(Category.GENRE, Category.GENRE, Category.MOOD, Category.ERA),
    labels=("Rock", "Jazz", "Sad", "90s"),
)
NOT_UTF8 = Path(os.fsdecode(b"caf\xe9/\xff\xfe.mp3"))


def track(path="a.mp3", scores=(0.25, 0.123456789, 0.5, 0.03), **facts):
    facts = {"n_clips": 3, "duration_seconds": 61.23456, **facts}
    return TrackScores(path=Path(path), scores=np.array(scores, dtype=np.float32), **facts)


def in_json(result, *, top_n=5, thresholds=0.0):
    row = make_row(result, VOCABULARY, top_n=top_n, thresholds=thresholds)
    text = json.dumps(row.to_dict(), ensure_ascii=False, allow_nan=False)
    return json.loads(text.encode("utf-8"))


def test_a_tagged_track_has_the_keys_of_the_contract_in_their_order():
    row = in_json(track(warnings=(WarningCode.TRUNCATED, WarningCode.PADDED)), top_n=3)
    assert list(row) == KEYS
    assert row == {
        "path": "a.mp3",
        "status": "ok",
        "reason": None,
        "message": None,
        "warnings": ["truncated", "padded"],
        "duration_seconds": 61.235,
        "n_clips": 3,
        "tags": [{"tag": "sad", "score": 0.5}, {"tag": "rock", "score": 0.25}, {"tag": "jazz", "score": 0.123457}],
        "written": None,
    }


@pytest.mark.parametrize("code", FailureCode)
def test_a_failed_track_says_why(code):
    row = in_json(Failure(path=Path("a.mp3"), code=code, message="a.mp3 is no use."))
    assert row == {
        "path": "a.mp3",
        "status": "failed",
        "reason": code.value,
        "message": "a.mp3 is no use.",
        "warnings": [],
        "duration_seconds": None,
        "n_clips": 0,
        "tags": [],
        "written": None,
    }


def test_a_silent_track_is_skipped_and_its_length_told():
    row = in_json(Failure(path=Path("a"), code=SkipCode.SILENT, message="a is silent.", duration_seconds=3.0))
    assert (row["status"], row["reason"], row["duration_seconds"]) == ("skipped", "silent", 3.0)


def test_the_codes_are_those_of_the_contract():
    assert {code.value for code in FailureCode} == {
        "empty",
        "not_audio",
        "no_audio_stream",
        "zero_rate",
        "unreadable",
        "missing",
        "too_short",
        "write_failed",
    }
    assert [code.value for code in SkipCode] == ["silent"]
    assert {code.value for code in WarningCode} == {"truncated", "damaged", "padded"}
    assert {status.value for status in Status} == {"ok", "skipped", "failed"}
    assert {state.value for state in Written} == {"written", "unchanged", "planned", "unsupported", "failed"}


@pytest.mark.parametrize(
    ("top_n", "thresholds", "tags"),
    [
        (5, 0.0, ["sad", "rock", "jazz", "90s"]),
        (2, 0.0, ["sad", "rock"]),
        (5, 0.25, ["sad", "rock"]),
        (1, [0.0, 0.0, 0.6, 0.0], ["rock"]),
        (5, 1.0, []),
    ],
)
def test_the_best_tags_above_the_threshold_are_told(top_n, thresholds, tags):
    assert [tag["tag"] for tag in in_json(track(), top_n=top_n, thresholds=thresholds)["tags"]] == tags


def test_a_name_that_is_not_utf8_is_replaced_and_its_bytes_kept():
    described = describe_path(NOT_UTF8)
    assert described["path"] == "caf\ufffd/\ufffd\ufffd.mp3"
    assert base64.b64decode(described["path_b64"]) == b"caf\xe9/\xff\xfe.mp3"
    assert Path(os.fsdecode(base64.b64decode(described["path_b64"]))) == NOT_UTF8
    row = in_json(track(NOT_UTF8))
    assert list(row) == ["path", "path_b64", *KEYS[1:]]


def test_a_name_that_is_utf8_has_no_bytes_beside_it():
    assert describe_path(Path("naïve 音楽.mp3")) == {"path": "naïve 音楽.mp3"}


def test_a_message_that_names_such_a_file_can_be_printed():
    row = in_json(Failure(path=NOT_UTF8, code=FailureCode.EMPTY, message=f"{NOT_UTF8} is empty; delete it."))
    assert row["message"] == "caf\ufffd/\ufffd\ufffd.mp3 is empty; delete it."
