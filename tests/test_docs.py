"""The documentation is read by tests: commands, examples, links, the set-up; and the wheel holds what it promises."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer.main

import tagcli
from tagcli.cli import app
from tagcli.rows import Row, Status

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "weights" / "README.md"]
PROGRAM = typer.main.get_command(app)
WRONG_USAGE = (KeyError, typer.BadParameter.__base__)  # no such command; the parser's own
SHELL_OPERATORS = frozenset("();<>|&")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def fenced_blocks(text, language=""):
    """The fenced blocks of a page, all or those of a language."""
    return [
        block for found, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if language in ("", found)
    ]


def without_fences(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def code_lines(text):
    """The lines of a page that are code: fenced, or indented by four."""
    yield from (line.strip() for block in fenced_blocks(text) for line in block.splitlines())
    yield from (line.strip() for line in re.findall(r"^ {4,}(\S.*)$", without_fences(text), re.M))


def code_spans(text):
    """The code within the lines of a page."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_fences(text))]


def tagcli_calls(line):
    """The arguments of each call of tagcli in a line of shell."""
    tokens = shlex.shlex(line.removeprefix("Example: ").removeprefix("$ "), posix=True, punctuation_chars=True)
    tokens.whitespace_split = True
    calls = [[]]
    for token in tokens:
        if SHELL_OPERATORS.issuperset(token):
            calls.append([])
        else:
            calls[-1].append(token)
    return [call[1:] for call in calls if len(call) > 1 and Path(call[0]).name == "tagcli"]


def examples(find):
    for page in PAGES:
        for line in find(page.read_text(encoding="utf-8")):
            if re.match(r"(Example: |\$ )?tagcli \S", line) or "bin/tagcli " in line:
                yield pytest.param(line, id=f"{page.relative_to(ROOT)}: {line[:60]}")


def parse(arguments, *, is_whole=True):
    """Parse as the program would, without running anything; what is not whole may lack arguments."""
    command, context, name, rest = PROGRAM, None, "tagcli", list(arguments)
    while commands := getattr(command, "commands", None):
        context = command.context_class(command, parent=context, info_name=name)
        _, rest, _ = command.make_parser(context).parse_args(rest)
        if not rest:
            return
        name, *rest = rest
        command = commands[name]
    if is_whole:
        command.make_context(name, rest, parent=context)
    else:
        command.make_parser(command.context_class(command, parent=context, info_name=name)).parse_args(rest)


def all_commands(command=PROGRAM, name="tagcli"):
    yield name
    for child, child_command in getattr(command, "commands", {}).items():
        yield from all_commands(child_command, f"{name} {child}")


@pytest.mark.parametrize("line", list(examples(code_lines)))
def test_every_example_can_be_parsed(line):
    calls = tagcli_calls(line)
    assert calls
    for call in calls:
        parse(call)


@pytest.mark.parametrize("line", list(examples(code_spans)))
def test_commands_and_options_that_are_spoken_of_exist(line):
    for call in tagcli_calls(line):
        parse(call, is_whole=False)


def test_the_parser_of_examples_sees_what_is_wrong():
    (call,) = tagcli_calls("$ tagcli -q predict --top 3 'my music' | head -1  # --nothing")
    assert call == ["-q", "predict", "--top", "3", "my music"]
    parse(call)
    for wrong in ("predict --nothing x", "nothing", "predict", "predict x --top many", "--nothing", "weights nothing"):
        with pytest.raises(WRONG_USAGE):
            parse(wrong.split())
    for wrong in ("predict --nothing", "weights list --nothing", "-q nothing"):
        with pytest.raises(WRONG_USAGE):
            parse(wrong.split(), is_whole=False)


@pytest.mark.parametrize("command", list(all_commands()))
def test_every_command_is_documented(command):
    assert re.search(rf"\b{command}\b", read("README.md") + read("docs/cli.md"))
    assert f"\n## {command}\n" in read("docs/cli.md")


def test_every_command_has_a_help_with_an_example():
    for section in read("docs/cli.md").split("\n## ")[1:]:
        name = section.splitlines()[0]
        assert f"Example: {name} " in section or "\nCommands:" in section or f"Example: {name}\n" in section


def test_the_reference_is_what_the_program_says():
    environment = {**os.environ, "COLUMNS": "60", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "docs/generate_cli.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == read("docs/cli.md"), "run `python docs/generate_cli.py > docs/cli.md`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page):
    text = without_fences(page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_row_of_the_readme_has_the_keys_of_a_row():
    rows = [json.loads(block) for block in fenced_blocks(read("README.md"), "json") if '"status"' in block]
    assert rows
    for row in rows:
        assert list(row) == list(Row(path=Path("x"), status=Status.OK).to_dict())


# The set-up


def test_the_readme_has_two_set_up_commands_and_the_check_runs_one_of_them():
    run_and_test = fenced_blocks(read("README.md"), "sh")
    assert len(run_and_test) == 2
    (test_command,) = [block for block in run_and_test if "pytest" in block]
    check = read(".ci/run")
    (extraction,) = re.findall(r"\$\((awk '[^']*' README\.md)\)", check)
    extracted = subprocess.run(extraction, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert extracted.strip() == test_command.strip()
    assert "pip install" not in check, "the check has a set-up of its own"
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_set_up_commands_name_files_that_are_there():
    for block in fenced_blocks(read("README.md"), "sh"):
        for word in shlex.split(block):
            if word.endswith((".py", ".txt", ".toml")):
                assert (ROOT / word).is_file(), word


def test_the_changelog_knows_this_version():
    assert re.search(rf"^## \[{re.escape(tagcli.__version__)}\] - \d{{4}}-\d\d-\d\d$", read("CHANGELOG.md"), re.M)
    assert "## [Unreleased]" in read("CHANGELOG.md")


# The wheel


def build_wheel(source, folder):
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("tagcli-*.whl")
    return wheel


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_installed(target, *arguments, code=0):
    """Run the tagcli that is installed in a folder, from somewhere else than the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(target)}
    command = [sys.executable, "-W", "error", "-m", "tagcli", *map(str, arguments)]
    done = subprocess.run(command, cwd=target, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what a wheel is built from, with a tiny checkpoint in the place of the bundled one."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("tagcli", "weights"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def installed(source, tiny_checkpoint, tmp_path_factory):
    """A folder in which a wheel with a bundled checkpoint is installed."""
    shutil.copy(tiny_checkpoint, source / "weights" / "tagcli-msd50.safetensors")
    target = tmp_path_factory.mktemp("target")
    wheel = build_wheel(source, tmp_path_factory.mktemp("wheel"))
    pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def test_a_wheel_of_the_checkout_carries_the_weights_folder(tmp_path):
    with zipfile.ZipFile(build_wheel(ROOT, tmp_path)) as wheel:
        names = wheel.namelist()
        assert wheel.read("tagcli/weights/bundled/README.md") == (ROOT / "weights" / "README.md").read_bytes()
    bundled = {path.name for path in (ROOT / "weights").iterdir() if path.is_file()}
    assert {name.rpartition("/")[2] for name in names if name.startswith("tagcli/weights/bundled/")} == bundled
    in_checkout = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tagcli").rglob("*.*") if path.is_file()}
    assert {name for name in in_checkout if "__pycache__" not in name} <= set(names)
    assert {name.split("/")[0] for name in names} == {"tagcli", f"tagcli-{tagcli.__version__}.dist-info"}


def test_an_installed_wheel_is_not_the_checkout_and_lists_its_weights(installed):
    place = run_installed(installed, "weights", "path", "tagcli-msd50").stdout.strip()
    assert Path(place) == installed / "tagcli" / "weights" / "bundled" / "tagcli-msd50.safetensors"
    rows = json.loads(run_installed(installed, "weights", "list", "--format", "json").stdout)
    states = {row["name"]: row["state"] for row in rows}
    assert states["tagcli-msd50"] == "bundled"
    assert states["won2020-msd-fcn"] == "available"
    assert run_installed(installed, "--version").stdout == f"tagcli {tagcli.__version__}\n"


def test_an_installed_wheel_tags_with_its_bundled_weights(installed, music, encode, tmp_path):
    encode(tmp_path / "a.wav", music(3, 8000, n_channels=1), 8000)
    content = json.loads(run_installed(installed, "predict", tmp_path, "--format", "json", "--device", "cpu").stdout)
    assert content["model"]["name"] == "tiny"
    assert [len(row["tags"]) for row in content["tracks"]] == [5]


def test_an_installed_wheel_without_weights_says_how_to_get_some(installed, tmp_path, music, encode):
    bare = tmp_path / "bare"
    shutil.copytree(installed, bare)
    (bare / "tagcli" / "weights" / "bundled" / "tagcli-msd50.safetensors").unlink()
    encode(tmp_path / "a.wav", music(3, 8000, n_channels=1), 8000)
    done = run_installed(bare, "predict", tmp_path / "a.wav", code=1)
    assert done.stdout == ""
    assert "tagcli weights pull won2020-msd-fcn" in done.stderr
    assert {row["state"] for row in json.loads(run_installed(bare, "weights", "list", "--format", "json").stdout)} == {
        "available"
    }


def test_the_names_of_fields_are_those_of_the_program():
    command = [sys.executable, str(ROOT / "docs" / "generate_metadata.py")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout == read("docs/metadata.md"), "run docs/generate_metadata.py"
