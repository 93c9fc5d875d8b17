"""The command `merge`: results of several machines as those of one, in every format, and nothing written over."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_results import ANY_ROW, FAILED, MODEL, OK, ROWS, SETTINGS, SILENT, TAGGED, text_of
from typer.testing import CliRunner

import tagcli.cli
from tagcli.cli.merge import merge
from tagcli.errors import OutputError, ResultsError
from tagcli.rows import Row, Status

FORMATS = ["table", "json", "jsonl", "csv"]

app = typer.Typer()
app.command("merge")(merge)


@app.callback()
def program(ctx: typer.Context, quiet: bool = False):
    ctx.obj = quiet


def run(*arguments, code=0, before=()):
    """Run the command in this process."""
    result = CliRunner().invoke(app, [*before, "merge", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


@pytest.fixture
def files(tmp_path):
    """Write results files, of one row each."""

    def write(*rows, format_="json", **head):
        paths = [tmp_path / f"{number}.{format_}" for number in range(len(rows))]
        for path, row in zip(paths, rows, strict=True):
            path.write_text(text_of([row], format_, **head), encoding="utf-8", newline="")
        return paths

    return write


def tracks(text):
    return json.loads(text)["tracks"]


def test_a_document_is_made_of_documents(files):
    content = json.loads(run(*files(*ROWS), "--format", "json", code=3).stdout)
    assert list(content) == ["format_version", "model", "settings", "tracks", "summary"]
    assert (content["model"], content["settings"]) == (MODEL, SETTINGS)
    assert content["tracks"] == [row.to_dict() for row in ROWS]
    summary = content["summary"]
    assert (summary["tagged"], summary["skipped"], summary["failed"]) == (1, 1, 1)
    assert summary["reasons"] == {"silent": 1, "empty": 1}
    assert summary["audio_seconds"] == 61.235
    assert (summary["elapsed_seconds"], summary["x_real_time"], summary["interrupted"]) == (None, None, False)


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_without_a_head_no_model_is_told(format_, files):
    content = json.loads(run(*files(OK, SILENT, format_=format_), "--format", "json").stdout)
    assert (content["model"], content["settings"]) == (None, {})
    assert [row["status"] for row in content["tracks"]] == ["ok", "skipped"]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("source", ["json", "jsonl"])
def test_every_format_becomes_every_other(source, format_, files):
    rows = [TAGGED, SILENT]
    head = {"model": MODEL, "settings": SETTINGS} if source == "json" else {"model": None, "settings": {}}
    found, expected = run(*files(*rows, format_=source), "--format", format_).stdout, text_of(rows, format_, **head)
    if format_ == "json":
        found, expected = json.loads(found) | {"summary": {}}, json.loads(expected)
    assert found == expected


def test_csv_stays_csv(files):
    text = run(*files(TAGGED, SILENT, format_="csv"), "--format", "csv").stdout
    assert text == text_of([TAGGED, SILENT], "csv")
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == 4


def test_shards_of_a_run_make_the_whole_run(tmp_path, files):
    rows = [Row(path=Path(f"{number}.mp3"), status=Status.OK) for number in range(10)]
    shards = [tmp_path / "one", tmp_path / "two"]
    for index, path in enumerate(shards):
        path.write_text(text_of(rows[index::2], "json"))
    found = tracks(run(*shards, "--format", "json").stdout)
    assert sorted(row["path"] for row in found) == [str(row.path) for row in rows]


@given(st.lists(ANY_ROW, max_size=5, unique_by=lambda row: row.path))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merging_keeps_every_row_and_merging_again_every_byte(tmp_path, rows):
    first, second, third = (tmp_path / f"{number}.json" for number in range(3))
    first.write_text(text_of(rows, "json"), encoding="utf-8")
    code = 3 if any(row.status is Status.FAILED for row in rows) else 0
    run(first, "--format", "json", "-o", second, code=code)
    assert tracks(second.read_text(encoding="utf-8")) == [row.to_dict() for row in rows]
    run(second, "--format", "json", "-o", third, code=code)
    assert third.read_bytes() == second.read_bytes()
    run(second, first, second, "--format", "json", "-o", third, code=code)
    assert third.read_bytes() == second.read_bytes()


def test_rows_without_a_head_are_merged_again_as_they_are(files, tmp_path):
    run(*files(OK, SILENT, format_="jsonl"), "--format", "json", "-o", tmp_path / "once")
    run(tmp_path / "once", "--format", "json", "-o", tmp_path / "twice")
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "once").read_bytes()


# Streams, files, exit codes


def test_counts_are_told_on_stderr_unless_quiet(files):
    paths = files(OK, SILENT, FAILED)
    assert run(*paths, code=3).stderr == "Merged 3 results: 1 tagged, 1 skipped, 1 failed\n"
    assert run(*paths, code=3, before=["--quiet"]).stderr == ""


def test_a_failed_track_that_another_result_has_tagged_is_no_failure(files):
    again = Row(path=FAILED.path, status=Status.OK)
    run(*files(FAILED, again), code=0)
    run(*files(FAILED, SILENT), code=3)
    run(*files(SILENT, SILENT), code=0)


@pytest.mark.parametrize("format_", FORMATS)
def test_results_go_into_a_file(format_, files, tmp_path):
    paths = files(TAGGED, SILENT)
    printed = run(*paths, "--format", format_).stdout
    result = run(*paths, "--format", format_, "-o", tmp_path / "all")
    assert result.stdout == ""
    assert (tmp_path / "all").read_bytes().decode() == printed


@pytest.mark.parametrize("way", ["same", "link", "hard link", "other name"])
def test_an_input_is_not_written_over(way, files, tmp_path):
    paths = files(OK, SILENT)
    before = [path.read_bytes() for path in paths]
    target = paths[1]
    if way == "link":
        target = tmp_path / "link"
        target.symlink_to(paths[1])
    elif way == "hard link":
        target = tmp_path / "hard link"
        os.link(paths[1], target)
    elif way == "other name":
        target = Path(f"{tmp_path}/../{tmp_path.name}/{paths[1].name}")
    with pytest.raises(OutputError, match="is one of the results to merge") as caught:
        run(*paths, "-o", target)
    assert str(paths[1]) in caught.value.message
    assert [path.read_bytes() for path in paths] == before


def test_an_input_that_is_stdout_is_not_written_over(files):
    one, two = files(OK, SILENT, format_="jsonl")
    before = two.read_bytes()
    code = "import typer, test_cli_merge; test_cli_merge.app()"
    command = [sys.executable, "-c", code, "merge", one, two, "--format", "jsonl"]
    with two.open("ab") as stream:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, stdout=stream, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "is one of the results to merge" in done.stderr
    assert two.read_bytes() == before


def test_devices_are_no_files_to_protect(files):
    run(*files(OK), os.devnull, "-o", os.devnull)


def test_results_of_another_model_are_refused_and_nothing_is_written(files, tmp_path):
    (one,) = files(OK)
    two = tmp_path / "two"
    two.write_text(text_of([SILENT], "json", model=MODEL | {"sha256": "1" * 64}))
    (tmp_path / "all").write_text("what was there before")
    with pytest.raises(ResultsError, match="differ in model") as caught:
        run(one, two, "-o", tmp_path / "all")
    assert all(str(path) in caught.value.message for path in (one, two))
    assert (tmp_path / "all").read_text() == "what was there before"


def test_a_damaged_file_is_an_error_of_one_line_and_prints_nothing(files, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.write_text(text_of([OK], "jsonl") + "{\n")
    result = CliRunner().invoke(tagcli.cli.app, ["merge", *map(str, files(OK)), str(damaged)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"{damaged} is damaged in line 2" in result.stderr
    assert result.stderr.count("\n") == 1


def test_wrong_usage_exits_with_two(files):
    run(code=2)
    run(*files(OK), "--format", "xml", code=2)


def test_the_help_waits_for_nothing_and_merging_not_for_torch(files):
    (path,) = files(OK)
    code = (
        "import sys, typer\n"
        "from tagcli.cli.merge import merge\n"
        "assert 'numpy' not in sys.modules\n"
        "app = typer.Typer()\n"
        "app.command()(merge)\n"
        f"try: app([{str(path)!r}])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
