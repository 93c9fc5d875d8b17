"""The commands that change files and take it back: write, clear, undo, history, verify, and what a dry run tells."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from metadata_files import FAKE_MP3_FRAME, encode_audio, id3_frame, id3_tag, text_content
from typer.testing import CliRunner

from tagcli.cli import app
from tagcli.metadata import read_metadata

OLD_TIME_NS = 1_234_567_890_123_456_700
N_MANY = 300
PATIENCE_SECONDS = 60


def run(*arguments, code=0, stdin=None):
    """Run the program in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


@pytest.fixture
def music(tmp_path):
    """Two files that can be written, dated back, and one that cannot."""
    folder = tmp_path / "music"
    folder.mkdir()
    title = id3_frame(3, "TIT2", text_content("A title", 0))
    (folder / "a.mp3").write_bytes(id3_tag(3, [title], padding=2000) + encode_audio())
    (folder / "b.flac").write_bytes(encode_audio("flac", "flac", 2.5))
    (folder / "c.aac").write_bytes(encode_audio("aac", "adts"))
    for path in folder.iterdir():
        os.utime(path, ns=(OLD_TIME_NS, OLD_TIME_NS))
    return folder


@pytest.fixture
def results(music, tmp_path):
    """A results file for them."""
    path = tmp_path / "tags.csv"
    lines = [("a.mp3", "rock", 0.9), ("a.mp3", "guitar", 0.4), ("b.flac", "Jazz", 0.8), ("c.aac", "jazz", 0.7)]
    path.write_text("path,tag,score\n" + "".join(f"{music / name},{tag},{score}\n" for name, tag, score in lines))
    return path


def state(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def fields_of(path):
    return {field.field: field.values for field in read_metadata(path).fields}


# There and back


def test_write_history_verify_undo(music, results):
    before = state(music)
    written = json.loads(run("write", results, "--format", "json").stdout)
    assert [track["written"] for track in written["tracks"]] == ["written", "written", "unsupported"]
    fields = fields_of(music / "a.mp3")
    assert (fields["TXXX:TAGCLI_TAGS"], fields["TCON"]) == (("rock", "guitar"), ("rock",))
    assert fields["TXXX:TAGCLI_SETTINGS"] == ("from=tags.csv",)
    assert fields_of(music / "b.flac")["GENRE"] == ("Jazz",), "what a word is, published vocabularies tell"
    assert fields_of(music / "b.flac")["TAGCLI_ADDED"] == ("genre=Jazz",)
    assert (music / "c.aac").read_bytes() == before["c.aac"][0]

    (told,) = json.loads(run("history", "--format", "json").stdout)["runs"]
    assert (told["run"], told["command"], told["n_writes"], told["n_undone"]) == (1, "write", 2, 0)
    (entry,) = json.loads(run("history", music / "a.mp3", "--format", "json").stdout)["writes"]
    assert entry["path"] == str(music / "a.mp3")
    assert entry["changes"][0] == {"field": "tags", "name": "TXXX:TAGCLI_TAGS", "old": [], "new": ["rock", "guitar"]}
    assert "TXXX:TAGCLI_TAGS: (nothing) -> rock | guitar" in run("history", "--run", 1).stdout

    verified = json.loads(run("verify", music, "--format", "json").stdout)["tracks"]
    assert [(track["status"], track["run"]) for track in verified] == [("same", 1), ("same", 1), ("unknown", None)]

    undone = json.loads(run("undo", "--yes", "--format", "json").stdout)
    assert undone["run"] == 1
    assert [track["status"] for track in undone["tracks"]] == ["undone", "undone"]
    assert state(music) == before
    assert "2 files written, 2 undone" in run("history").stdout
    assert "nothing to undo" in run("undo").stderr
    again = run("write", results)
    assert again.stdout.count("\twritten") == 2


def test_a_dry_run_tells_old_and_new_and_whether_the_file_keeps_its_size(music, results):
    before = state(music)
    lines = run("write", results, "--dry-run", "--comment", "fill").stdout.splitlines()
    assert lines[0].endswith("\tplanned")
    assert "    TCON: (nothing) -> rock" in lines
    assert "    COMM::eng: (nothing) -> rock; guitar" in lines
    assert lines.count("    fits into the padding") == 2
    planned = json.loads(run("write", results, "--dry-run", "--format", "json").stdout)["tracks"]
    assert [track.get("fits_padding") for track in planned] == [True, True, None]
    assert {change["field"] for change in planned[0]["changes"]} == {"tags", "scores", "settings", "genre", "added"}
    (music / "a.mp3").write_bytes(FAKE_MP3_FRAME * 3)
    planned = json.loads(run("write", results, "--dry-run", "--format", "json").stdout)["tracks"]
    assert planned[0]["fits_padding"] is False
    (music / "a.mp3").write_bytes(before["a.mp3"][0])
    os.utime(music / "a.mp3", ns=(OLD_TIME_NS, OLD_TIME_NS))
    assert state(music) == before
    assert run("history").stdout == ""


def test_clear_removes_what_was_written_and_no_more(music, results):
    content = (music / "a.mp3").read_bytes()
    run("write", results, "--mood", "fill", "--comment", "append", "--grouping", "fill")
    shown = run("clear", "--dry-run", music).stdout
    assert "    TCON: rock -> (nothing)" in shown
    cleared = json.loads(run("clear", music, "--format", "json").stdout)["tracks"]
    assert [track["written"] for track in cleared] == ["written", "written", "unsupported"]
    assert fields_of(music / "a.mp3") == {"TIT2": ("A title",)}
    assert (music / "a.mp3").read_bytes() == content, "the padding is there again"
    cleared = json.loads(run("clear", music, "--format", "json").stdout)["tracks"]
    assert [track["written"] for track in cleared] == ["unchanged", "unchanged", "unsupported"]
    assert [known["command"] for known in json.loads(run("history", "--format", "json").stdout)["runs"]] == [
        "write",
        "clear",
    ]
    run("undo", "--yes")
    assert fields_of(music / "a.mp3")["TCON"] == ("rock",)


def test_the_time_of_modification_stays_when_asked_for(music, results):
    run("write", results, "--preserve-mtime")
    assert (music / "a.mp3").stat().st_mtime_ns == OLD_TIME_NS
    run("clear", music, "--preserve-mtime")
    assert (music / "b.flac").stat().st_mtime_ns == OLD_TIME_NS


def test_rules_of_the_users_own(music, results, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(
        'store_others = false\n[[tag]]\nname = "rock"\ncategory = "mood"\nlabel = "Rocking"\n'
        '[[tag]]\nname = "jazz"\nthreshold = 0.75\n'
    )
    run("write", results, "--vocabulary", rules)
    fields = fields_of(music / "a.mp3")
    assert fields["TXXX:TAGCLI_TAGS"] == ("Rocking",)
    assert fields["TXXX:MOOD"] == ("Rocking",), "TMOO does not exist in ID3v2.3"
    assert "TCON" not in fields
    assert fields_of(music / "b.flac")["TAGCLI_TAGS"] == ("Jazz",)
    rules.write_text('[[tag]]\nname = "rock"\nlabel = "a/b"\n')
    assert "where players split" in run("write", results, "--vocabulary", rules, code=2).stderr


def test_the_vocabulary_of_a_model_is_printed_to_be_edited(tmp_path, music, results):
    rules = tmp_path / "rules.toml"
    rules.write_text(run("weights", "vocabulary", "won2020-msd-fcn").stdout.replace('label = "rock"', 'label = "ROCK"'))
    run("write", results, "--vocabulary", rules)
    assert fields_of(music / "a.mp3")["TCON"] == ("ROCK",)


def test_predict_notes_what_it_writes(music, tiny_checkpoint, tmp_path):
    before = state(music)
    rules = tmp_path / "rules.toml"
    rules.write_text("".join(f'[[tag]]\nname = "{tag}"\ncategory = "mood"\n' for tag in ("rock", "jazz", "electronic")))
    options = ("--model", tiny_checkpoint, "--threshold", 0, "--vocabulary", rules, "--write", "--preserve-mtime")
    run("predict", music / "b.flac", *options)
    fields = fields_of(music / "b.flac")
    assert "GENRE" not in fields
    assert len(fields["MOOD"]) == 3
    assert (music / "b.flac").stat().st_mtime_ns == OLD_TIME_NS
    run("undo", "--yes")
    assert state(music) == before


def test_a_sidecar_stands_beside_what_holds_no_tags(music, results, tmp_path):
    before = state(music)
    (music / "c.aac.tagcli.json").write_text("{}")
    assert "is in the way" in run("write", results, "--sidecar", code=3).stderr
    (music / "c.aac.tagcli.json").unlink()
    assert run("write", results, "--sidecar", "--dry-run").stdout.splitlines()[-1].endswith("planned")
    assert not (music / "c.aac.tagcli.json").exists()
    assert run("write", results, "--sidecar").stdout.splitlines()[-1].endswith("written")
    assert json.loads((music / "c.aac.tagcli.json").read_text()) == {
        "format_version": 1,
        "tags": [{"tag": "jazz", "score": 0.7}],
        "model": "",
        "settings": "from=tags.csv",
        "genres": ["jazz"],
        "moods": [],
    }
    assert run("write", results, "--sidecar").stdout.splitlines()[-1].endswith("unchanged")
    assert state(music)["c.aac"] == before["c.aac"]
    assert run("show", music / "c.aac").stdout.splitlines()[1].split() == ["beside", "it", "jazz"]
    assert run("clear", music, "--dry-run").stdout.splitlines()[-1].endswith("planned")
    run("clear", music)
    assert set(state(music)) == set(before)


@pytest.mark.parametrize("format_", ["csv", "jsonl", "json"])
def test_results_that_nobody_edited_change_nothing(music, tiny_checkpoint, tmp_path, format_):
    output = tmp_path / f"results.{format_}"
    options = ("--model", tiny_checkpoint, "--threshold", 0, "--genre", "never", "--mood", "never")
    run("predict", music / "b.flac", *options, "--write", "--format", format_, "-o", output)
    before = state(music)
    never = ("--genre", "never", "--mood", "never")
    assert run("write", output, "--threshold", 0, *never).stdout.splitlines()[0].endswith("\tunchanged")
    assert state(music) == before


# What goes wrong


def test_what_cannot_be_put_back_is_told_and_the_rest_is(music, results):
    before = state(music)
    run("write", results)
    with (music / "a.mp3").open("ab") as file:
        file.write(b"x")
    result = run("undo", "--yes", code=3)
    assert result.stdout.splitlines() == [f"{music / 'b.flac'}\tundone", f"{music / 'a.mp3'}\tfailed"]
    assert "was changed since" in result.stderr
    assert state(music)["b.flac"] == before["b.flac"]
    assert run("verify", music, code=3).stdout.splitlines()[0] == f"{music / 'a.mp3'}\tchanged since run 1"


def test_undo_of_some_paths_of_a_run_and_of_no_run(music, results):
    run("write", results)
    assert run("undo", music / "b.flac", "--yes").stdout.count("undone") == 1
    assert "TAGCLI_TAGS" not in fields_of(music / "b.flac")
    assert "TXXX:TAGCLI_TAGS" in fields_of(music / "a.mp3")
    assert "There is no run 7" in run("undo", "--run", 7, code=2).stderr
    assert run("undo", "--run", 1).stdout.count("undone") == 1
    assert "nothing to undo" in run("undo", "--run", 1).stderr


def test_undo_asks_at_a_terminal(music, results, monkeypatch):
    run("write", results)
    before = state(music)
    monkeypatch.setattr("tagcli.cli.journal.is_terminal", lambda: True)
    assert "Put 2 files of run 1 back" in run("undo", code=1, stdin="n\n").stderr
    assert state(music) == before
    run("undo", stdin="y\n")
    assert "TAGCLI_TAGS" not in fields_of(music / "b.flac")


def test_files_that_are_gone_or_tags_that_cannot_be_stored(music, results):
    (music / "a.mp3").unlink()
    results.write_text(results.read_text().replace("Jazz", '"AC/DC"'))
    result = run("write", results, code=3)
    assert "does not exist" in result.stderr
    assert "give it another label in a --vocabulary file" in result.stderr
    assert "TAGCLI_TAGS" not in fields_of(music / "b.flac")
    assert "is not in UTF-8" in run("write", music / "c.aac", code=1).stderr


def test_a_journal_that_cannot_be_used_stops_all_writing(music, results, tiny_checkpoint, tmp_path):
    before = state(music)
    place = os.environ["XDG_STATE_HOME"]
    with open(place, "w", encoding="utf-8") as file:  # noqa: PTH123  # a file where the folder should be
        file.write("x")
    for arguments in (
        ("write", results),
        ("clear", music),
        ("predict", music, "--model", tiny_checkpoint, "--write"),
        ("undo",),
        ("history",),
    ):
        assert "The journal" in run(*arguments, code=1).stderr
    assert state(music) == before
    run("write", results, "--dry-run")


def test_pruning(music, results):
    run("write", results)
    assert "0 writes are forgotten" in run("history", "--prune", 30).stderr
    time.sleep(1.1)  # times are told to the second
    assert "2 writes are forgotten" in run("history", "--prune", 0).stderr
    assert "nothing to undo" in run("undo").stderr


def test_ctrl_c_finishes_the_file_in_hand(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(("path", "tag"))
    for number in range(N_MANY):
        (folder / f"{number:03}.mp3").write_bytes(FAKE_MP3_FRAME * 4)
        writer.writerow((folder / f"{number:03}.mp3", "rock"))
    (tmp_path / "tags.csv").write_text(rows.getvalue())

    def interrupt(n_lines, *arguments):
        command = [sys.executable, "-u", "-m", "tagcli", *map(str, arguments)]
        with (
            (tmp_path / "talk").open("w+") as talk,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True) as process,
        ):
            for _ in range(n_lines):
                process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out = process.stdout.read()  # communicate() would lose what readline() read ahead
            process.wait(timeout=PATIENCE_SECONDS)
            talk.seek(0)
            said = talk.read()
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]
        return n_lines + out.count("\n")

    n_written = interrupt(20, "write", tmp_path / "tags.csv")
    assert n_written < N_MANY
    tagged = [path for path in folder.iterdir() if b"TAGCLI_TAGS" in path.read_bytes()]
    assert len(tagged) == n_written
    n_undone = interrupt(2, "undo", "--yes")
    assert n_undone < n_written
    rest = run("undo", "--yes").stdout
    assert rest.count("undone") == n_written - n_undone
    assert {path.read_bytes() for path in folder.iterdir()} == {FAKE_MP3_FRAME * 4}
