"""The command `weights`: data on stdout, talk on stderr, names whole."""

import json
import subprocess
import sys

import pytest
import torch
from published import PULLED, SHARED, UNCALIBRATED, entry_for, needs_published_files, won2020_state
from typer.testing import CliRunner

import tagcli.weights.catalogue
import tagcli.weights.intake
import tagcli.weights.places
from tagcli.cli.weights import weights_app
from tagcli.errors import WeightsError
from tagcli.weights.download import MIRROR_VARIABLE
from tagcli.weights.entries import CATALOGUE
from tagcli.weights.places import weights_folder

NAME = "won2020-msd-fcn"
LONG_NAME = "a-name-that-is-" + "very-" * 30 + "long"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """A weights folder and a working folder of the test's own, and nothing bundled."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for module in (tagcli.weights.places, tagcli.weights.catalogue):
        monkeypatch.setattr(module, "bundled_folder", lambda: tmp_path / "bundled")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror that holds one file, and a catalogue that knows it."""
    path = tmp_path / "mirror" / "won2020" / "msd_fcn.pth"
    path.parent.mkdir(parents=True)
    torch.save(won2020_state(), path)
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    entries = {**CATALOGUE, NAME: entry_for(CATALOGUE[NAME], path.read_bytes())}
    for module in (tagcli.weights.catalogue, tagcli.weights.intake):
        monkeypatch.setattr(module, "CATALOGUE", entries)
    return tmp_path / "mirror"


def run(*arguments, code=0):
    result = CliRunner().invoke(weights_app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_list_as_json_has_the_fields_of_the_contract():
    rows = json.loads(run("list", "--format", "json").stdout)
    assert [row["name"] for row in rows] == list(PULLED)
    for row in rows:
        assert list(row) == ["name", "state", "n_tags", "sample_rate", "roc_auc", "pr_auc", "licence", "sha256"]
        assert (row["state"], row["n_tags"], row["licence"]) == ("available", 50, "MIT")
        assert row["sample_rate"] == (16_000 if row["name"].startswith("won2020") else 12_000)


def test_a_table_that_is_not_for_a_terminal_is_neither_wrapped_nor_cut(mirror, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    run("pull", NAME)
    (weights_folder() / f"{NAME}.safetensors").rename(weights_folder() / f"{LONG_NAME}.safetensors")
    lines = run("list").stdout.splitlines()
    assert len(lines) == 1 + len(PULLED) + 1
    assert lines[-1].split()[:2] == [LONG_NAME, "cached"]
    assert all(line == line.rstrip() for line in lines)


def test_pull_prints_the_place_and_nothing_else(mirror):
    result = run("pull", NAME)
    place = weights_folder() / f"{NAME}.safetensors"
    assert (result.stdout, result.stderr) == (f"{place}\n", "")
    assert place.is_file()
    assert run("path", NAME).stdout == f"{place}\n"
    assert run("pull", NAME, NAME).stdout == f"{place}\n{place}\n"


def test_import_prints_the_place(mirror, tmp_path):
    source = mirror / "won2020" / "msd_fcn.pth"
    assert run("import", source).stdout == f"{weights_folder() / NAME}.safetensors\n"
    torch.save(won2020_state(1), tmp_path / "mine.pth")
    output = tmp_path / "[mine].safetensors"
    assert run("import", "mine.pth", "--as", NAME, "-o", output).stdout == f"{output}\n"
    assert json.loads(run("info", output, "--format", "json").stdout)["licence"] == "unknown"
    assert f"path           {output}\n" in run("info", output).stdout


def test_info_says_how_weights_get_here(mirror):
    text = run("info", NAME).stdout
    assert f"tagcli weights pull {NAME}" in text
    assert "Minz Won" in text
    assert CATALOGUE["won2020-mtat-fcn"].url in run("info", "won2020-mtat-fcn").stdout
    run("pull", NAME)
    facts = json.loads(run("info", NAME, "--format", "json").stdout)
    assert (facts["state"], facts["get"]) == ("cached", None)
    assert len(facts["tags"]) == facts["n_tags"] == 50
    import_only = run("info", "choi2017-keras2").stdout
    assert "tagcli weights import FILE --as choi2017-keras2" in import_only
    assert "without a licence" in import_only


def test_a_path_that_is_not_utf8_is_printed_as_it_is(mirror, tmp_path):
    run("pull", NAME)
    odd = tmp_path / b"caf\xe9.safetensors".decode(errors="surrogateescape")
    (weights_folder() / f"{NAME}.safetensors").rename(odd)
    assert run("path", odd).stdout_bytes.endswith(b"caf\xe9.safetensors\n")
    assert "caf�.safetensors" in run("info", odd).stdout
    assert "caf" in json.loads(run("info", odd, "--format", "json").stdout)["path"]


@pytest.mark.parametrize("arguments", [("path", "zzz"), ("info", "zzz"), ("pull", "zzz"), ("import", "zzz.pth")])
def test_errors_are_left_to_the_door(arguments):
    with pytest.raises(WeightsError, match="zzz"):
        run(*arguments)


@pytest.mark.parametrize("arguments", [("path",), ("pull",), ("import",), ("list", "--format", "xml"), ("nothing",)])
def test_usage_errors_exit_with_two(arguments):
    assert run(*arguments, code=2).stdout == ""


@pytest.mark.parametrize("command", ["list", "info", "pull", "import", "path"])
def test_every_help_text_has_an_example(command):
    assert f"Example: tagcli weights {command}" in run(command, "--help").stdout


def test_the_commands_module_imports_nothing_slow():
    code = (
        "import sys\n"
        "import tagcli.cli.weights\n"
        "print(sorted({'torch', 'h5py', 'pooch', 'numpy', 'rich', 'tqdm', 'requests'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@needs_published_files
def test_the_published_weights_are_pulled_from_a_mirror(monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED / "weights"))
    assert len(run("pull", *PULLED).stdout.splitlines()) == len(PULLED) == 10
    run("import", SHARED / "weights" / "choi2017" / "model_best.hdf5", "--as", "choi2017-keras2")
    states = {row["name"]: row["state"] for row in json.loads(run("list", "--format", "json").stdout)}
    assert states == {**dict.fromkeys(CATALOGUE, "cached"), UNCALIBRATED: "uncalibrated"}
