"""Weights are found, listed, pulled and imported; a download is believed for its hash alone."""

import dataclasses
import hashlib
import io
import json
import re
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from published import PULLED, SHARED, UNCALIBRATED, entry_for, needs_published_files, won2020_state

import tagcli.weights.catalogue
import tagcli.weights.intake
import tagcli.weights.places
from tagcli.checkpoint import load_tensors, read_header, save_checkpoint
from tagcli.errors import CheckpointError, WeightsError
from tagcli.files import hash_file
from tagcli.weights.catalogue import DEFAULT_NAME, default_weights, describe_weights, find_weights, list_weights
from tagcli.weights.download import MIRROR_VARIABLE
from tagcli.weights.entries import CATALOGUE
from tagcli.weights.intake import import_weights, pull
from tagcli.weights.places import bundled_folder, weights_folder

NAME = "won2020-msd-fcn"
IMPORT_ONLY = "choi2017-keras2"


def state_bytes(seed):
    content = io.BytesIO()
    torch.save(won2020_state(seed), content)
    return content.getvalue()


@pytest.fixture(scope="module")
def content():
    """Bytes that stand for the published file."""
    return state_bytes(0)


@pytest.fixture(scope="module")
def other_content():
    """Another training of the same layout."""
    return state_bytes(1)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """A weights folder of the test's own, no mirror, nothing bundled."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    for module in (tagcli.weights.places, tagcli.weights.catalogue):
        monkeypatch.setattr(module, "bundled_folder", lambda: tmp_path / "bundled")


@pytest.fixture
def use_catalogue(monkeypatch):
    """Replace the catalogue; the published hashes are not those of what a test can make."""

    def use(*entries):
        for module in (tagcli.weights.catalogue, tagcli.weights.intake):
            monkeypatch.setattr(module, "CATALOGUE", {entry.name: entry for entry in entries})

    return use


class Server(ThreadingHTTPServer):
    """Answers every request with one status and body, and remembers what was asked."""

    def answer_with(self, body, *, status=200, announced=None):
        self.body, self.status = body, status
        self.announced = len(body) if announced is None else announced

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.announced))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(content):
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        running.answer_with(content)
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def entry(content, server, use_catalogue):
    """The catalogue's only entry, served by the local server."""
    entry = entry_for(CATALOGUE[NAME], content, url=f"{server.address}/pinned/best_model.pth")
    use_catalogue(entry)
    return entry


@pytest.fixture
def mirror(tmp_path, content):
    folder = tmp_path / "mirror"
    (folder / "won2020").mkdir(parents=True)
    (folder / "won2020" / "msd_fcn.pth").write_bytes(content)
    return folder


def stored():
    return sorted(path.name for path in weights_folder().iterdir()) if weights_folder().is_dir() else []


# Pull


def test_pull_stores_a_checkpoint_and_fetches_once(entry, server):
    path = pull(NAME)
    assert path == weights_folder() / f"{NAME}.safetensors"
    header = read_header(path)
    assert header.name == NAME
    assert header.provenance.source == entry.url
    assert header.provenance.source_sha256 == entry.sha256
    assert header.provenance.roc_auc == 0.8744
    assert "Minz Won" in header.provenance.licence
    assert torch.equal(load_tensors(path)["model.dense.weight"], won2020_state()["dense.weight"])
    assert pull(NAME) == path
    assert server.asked == ["/pinned/best_model.pth"]
    assert stored() == [path.name]


def test_pull_reports_every_byte(entry, content):
    seen = []
    pull(NAME, progress=lambda here, in_all: seen.append((here, in_all)))
    assert seen[-1] == (len(content), len(content))
    assert seen == sorted(seen)
    assert len(seen) > 2


def test_pull_says_nothing(entry, capfd):
    pull(NAME)
    assert capfd.readouterr() == ("", "")


def test_pull_of_other_bytes_names_both_hashes_and_stores_nothing(entry, server, other_content):
    assert len(other_content) == entry.n_bytes
    server.answer_with(other_content)
    with pytest.raises(WeightsError) as caught:
        pull(NAME)
    message = str(caught.value)
    assert entry.sha256 in message
    assert hashlib.sha256(other_content).hexdigest() in message
    assert entry.url in message
    assert stored() == []


def test_pull_stops_at_more_bytes_than_were_pinned(entry, server, content):
    server.answer_with(content + b"more")
    with pytest.raises(WeightsError, match="gives more than the"):
        pull(NAME)
    assert stored() == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_pull_says_what_the_server_answers(entry, server, status):
    server.answer_with(b"no", status=status)
    with pytest.raises(WeightsError, match=rf"best_model\.pth answers {status} .*tagcli weights import FILE"):
        pull(NAME)
    assert stored() == []


def test_pull_of_a_body_that_breaks_off(entry, server, content):
    server.answer_with(content[:1000], announced=len(content))
    with pytest.raises(WeightsError, match="the connection broke off"):
        pull(NAME)
    assert stored() == []


def test_pull_without_a_server(content, use_catalogue):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/best_model.pth"
        use_catalogue(entry_for(CATALOGUE[NAME], content, url=url))
        with pytest.raises(WeightsError, match=r"cannot be fetched \(no connection\)"):
            pull(NAME)
    assert stored() == []


def test_pull_from_an_address_that_is_none(content, use_catalogue):
    use_catalogue(entry_for(CATALOGUE[NAME], content, url="http://"))
    with pytest.raises(WeightsError, match="the address is not valid"):
        pull(NAME)


def test_pull_fetches_again_what_is_damaged_or_not_the_published_weights(entry, server, content, caplog):
    path = pull(NAME)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert pull(NAME).read_bytes() == whole
    foreign = read_header(path)
    foreign = dataclasses.replace(foreign, provenance=dataclasses.replace(foreign.provenance, source_sha256="00"))
    save_checkpoint(path, foreign, load_tensors(path))
    assert pull(NAME).read_bytes() == whole
    assert len(server.asked) == 3
    assert "does not hold the published weights" in caplog.text


def test_pull_into_a_folder_that_cannot_be(entry, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(WeightsError, match=r"weights folder .* cannot be created"):
        pull(NAME)


def test_pull_of_unknown_and_of_import_only_weights(use_catalogue):
    with pytest.raises(WeightsError, match=r"no weights 'won2020-msd-fnc': did you mean won2020-msd-fcn"):
        pull("won2020-msd-fnc")
    with pytest.raises(WeightsError, match=f"without a licence.*tagcli weights import FILE --as {IMPORT_ONLY}"):
        pull(IMPORT_ONLY)
    assert stored() == []


# Mirrors


def test_a_mirror_folder_takes_the_place_of_the_net(entry, server, mirror, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror))
    assert read_header(pull(NAME)).provenance.source == entry.url
    assert server.asked == []


def test_a_mirror_address_is_asked_for_the_short_path(entry, server, monkeypatch):
    for slash in ("", "/"):
        monkeypatch.setenv(MIRROR_VARIABLE, f"{server.address}/weights{slash}")
        pull(NAME).unlink()
    assert server.asked == ["/weights/won2020/msd_fcn.pth"] * 2


@pytest.mark.parametrize("lack", ["file", "folder"])
def test_a_mirror_that_lacks_the_file_is_not_passed_over(lack, entry, server, mirror, monkeypatch):
    (mirror / "won2020" / "msd_fcn.pth").unlink()
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror if lack == "file" else mirror / "nowhere"))
    with pytest.raises(WeightsError, match=f"has no won2020/msd_fcn.pth.*{MIRROR_VARIABLE}"):
        pull(NAME)
    assert server.asked == []
    assert stored() == []


def test_a_mirror_with_other_bytes_is_not_passed_over(entry, server, mirror, other_content, monkeypatch):
    (mirror / "won2020" / "msd_fcn.pth").write_bytes(other_content)
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror))
    with pytest.raises(WeightsError) as caught:
        pull(NAME)
    for part in (str(mirror), entry.sha256, hashlib.sha256(other_content).hexdigest()):
        assert part in str(caught.value)
    assert server.asked == []
    assert stored() == []


def test_a_mirror_that_is_neither_is_refused(entry, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, "ftp://example.org/weights")
    with pytest.raises(WeightsError, match="neither a folder nor an http or https address"):
        pull(NAME)


def test_an_empty_mirror_is_none(entry, server, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, "")
    pull(NAME)
    assert server.asked == ["/pinned/best_model.pth"]


# Import


def test_a_published_file_is_recognised_by_its_hash(entry, content, tmp_path):
    source = tmp_path / "some name.bin"
    source.write_bytes(content)
    imported = import_weights(source)
    assert imported == weights_folder() / f"{NAME}.safetensors"
    output = tmp_path / "mine.safetensors"
    assert import_weights(source, name=NAME, output=output) == output
    assert output.read_bytes() == imported.read_bytes() == pull(NAME).read_bytes()


def test_another_training_goes_where_the_user_says(entry, other_content, tmp_path):
    source, output = tmp_path / "mine.pth", tmp_path / "mine.safetensors"
    source.write_bytes(other_content)
    assert import_weights(source, name=NAME, output=output) == output
    header = read_header(output)
    assert (header.name, header.provenance.source) == ("mine", "mine.pth")
    assert header.provenance.source_sha256 == hashlib.sha256(other_content).hexdigest()
    assert (header.provenance.licence, header.provenance.roc_auc) == ("unknown", None)
    assert header.vocabulary.name == "msd50"
    assert torch.equal(load_tensors(output)["model.dense.bias"], won2020_state(1)["dense.bias"])


def test_another_training_never_gets_a_catalogue_name(entry, other_content, tmp_path):
    source = tmp_path / "mine.pth"
    source.write_bytes(other_content)
    weights_folder().mkdir(parents=True)
    for output in (None, weights_folder() / f"{NAME}.safetensors"):
        with pytest.raises(WeightsError, match="needs a name of its own") as caught:
            import_weights(source, name=NAME, output=output)
        assert entry.sha256 in str(caught.value)
    assert stored() == []


def test_a_published_file_never_gets_the_name_of_another(entry, content, other_content, tmp_path, use_catalogue):
    use_catalogue(entry, entry_for(CATALOGUE["won2020-mtat-fcn"], other_content))
    source = tmp_path / "msd.pth"
    source.write_bytes(content)
    with pytest.raises(WeightsError, match=f"is {NAME} by its SHA-256, not won2020-mtat-fcn"):
        import_weights(source, name="won2020-mtat-fcn")
    with pytest.raises(WeightsError, match="is the place of other weights"):
        import_weights(source, output=weights_folder() / "won2020-mtat-fcn.safetensors")
    assert stored() == []


def test_what_import_refuses(entry, content, other_content, tmp_path):
    source = tmp_path / "x.pth"
    source.write_bytes(other_content)
    with pytest.raises(WeightsError, match="none of the published files"):
        import_weights(source)
    with pytest.raises(WeightsError, match=f"did you mean {NAME}"):
        import_weights(source, name=f"{NAME}s")
    with pytest.raises(WeightsError, match=r"give `--output mine\.safetensors`"):
        import_weights(source, name=NAME, output=tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        import_weights(tmp_path / "missing.pth")
    source.write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="PyTorch state dict"):
        import_weights(source, name=NAME, output=tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match="a checkpoint already"):
        import_weights(pull(NAME))
    assert not (tmp_path / "mine.safetensors").exists()


# Find


def test_names_paths_and_runs_are_found(entry, tmp_path, monkeypatch):
    path = pull(NAME)
    assert find_weights(NAME) == path
    assert find_weights(str(path)) == path
    run = tmp_path / "run"
    run.mkdir()
    best = run / "best.safetensors"
    best.write_bytes(path.read_bytes())
    assert find_weights(str(run)) == best
    path.rename(path.with_name("mine.safetensors"))
    assert find_weights("mine") == path.with_name("mine.safetensors")
    (tmp_path / "bundled").mkdir()
    bundled = tmp_path / "bundled" / f"{DEFAULT_NAME}.safetensors"
    bundled.write_bytes(best.read_bytes())
    assert find_weights(DEFAULT_NAME) == default_weights() == bundled


def test_a_name_goes_before_a_folder_of_that_name(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(WeightsError, match="not here yet"):
        find_weights(NAME)
    path = pull(NAME)
    assert find_weights(NAME) == path
    with pytest.raises(WeightsError, match=r"holds no best\.safetensors"):
        find_weights(f"./{NAME}")


def test_what_is_not_found_says_what_to_do(tmp_path):
    (tmp_path / "model.pth").touch()
    for name, reason in {
        NAME: f"not here yet; run `tagcli weights pull {NAME}`",
        IMPORT_ONLY: f"not here yet; run `tagcli weights import FILE --as {IMPORT_ONLY}`",
        DEFAULT_NAME: f"run `tagcli weights pull {NAME}` once, then give `--model {NAME}`",
        "won2020-mst-fcn": "did you mean won2020-msd-fcn",
        "zzz": "see `tagcli weights list`",
        "n" * 5000: "File name too long",
        "\0": "see `tagcli weights list`",
        str(tmp_path / "missing.safetensors"): "check the path",
        str(tmp_path): "holds no best.safetensors",
        str(tmp_path / "model.pth"): "tagcli weights import",
    }.items():
        with pytest.raises(WeightsError, match=reason) as caught:
            find_weights(name)
        assert "\n" not in str(caught.value)


def test_names_do_not_lead_out_of_the_weights_folder(entry):
    pull(NAME)
    with pytest.raises(WeightsError):
        find_weights(f"../weights/{NAME}")


# List and describe


def test_the_list_shows_where_weights_are(entry, tmp_path, use_catalogue):
    use_catalogue(entry, CATALOGUE["won2020-mtat-fcn"], CATALOGUE[IMPORT_ONLY])
    assert [(row.name, row.state) for row in list_weights()] == [
        (NAME, "available"),
        ("won2020-mtat-fcn", "available"),
    ]
    path = pull(NAME)
    path.with_name("mine.safetensors").write_bytes(path.read_bytes())
    path.with_name("damaged.safetensors").write_bytes(b"damaged")
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / f"{DEFAULT_NAME}.safetensors").write_bytes(path.read_bytes())
    rows = list_weights()
    assert [(row.name, row.state) for row in rows] == [
        (DEFAULT_NAME, "bundled"),
        (NAME, "cached"),
        ("won2020-mtat-fcn", "available"),
        ("mine", "cached"),
    ]
    assert {(row.n_tags, row.sample_rate) for row in rows} == {(50, 16_000)}
    assert rows[1].sha256 == entry.sha256
    assert rows[3].sha256 == hash_file(tmp_path / "data" / "tagcli" / "weights" / "mine.safetensors")
    assert (rows[1].roc_auc, rows[1].pr_auc, rows[1].licence) == (0.8744, 0.2970, "MIT")


def test_a_description_is_there_before_the_weights_are(entry, use_catalogue):
    use_catalogue(entry, CATALOGUE[IMPORT_ONLY])
    before = describe_weights(NAME)
    assert (before.state, before.path, before.how_to_get) == ("available", None, f"tagcli weights pull {NAME}")
    path = pull(NAME)
    after = describe_weights(NAME)
    assert (after.state, after.path, after.how_to_get) == ("cached", path, None)
    assert after.provenance == before.provenance == read_header(path).provenance
    by_path = describe_weights(str(path))
    assert (by_path.name, by_path.sample_rate, by_path.vocabulary) == (NAME, 16_000, before.vocabulary)
    import_only = describe_weights(IMPORT_ONLY)
    assert (import_only.state, import_only.url) == (None, None)
    assert "without a licence" in import_only.note


def test_the_catalogue_is_pinned():
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert len(entry.sha256) == 64
        if entry.url is not None:
            assert re.match(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/", entry.url)
    assert [name for name, entry in CATALOGUE.items() if entry.url is None] == [IMPORT_ONLY]


def test_the_bundled_folder_is_the_checkouts():
    assert (bundled_folder() / "README.md").is_file()


def test_the_list_is_made_without_slow_imports():
    code = (
        "import sys\n"
        "from tagcli.weights.catalogue import list_weights\n"
        "list_weights()\n"
        "print(sorted({'torch', 'h5py', 'pooch', 'requests', 'safetensors'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# The real files


@needs_published_files
def test_the_catalogue_says_what_the_published_files_are():
    published = {row["file"]: row for row in json.loads((SHARED / "weights" / "files.json").read_text())}
    for entry in CATALOGUE.values():
        row = published[entry.path]
        assert (entry.sha256, entry.n_bytes) == (row["sha256"], row["bytes"])
        assert entry.url in {None, row["url"]}
        assert entry.vocabulary == row["tags"].removeprefix("tags_").removesuffix(".txt")
        if "published" in row:
            assert (entry.roc_auc, entry.pr_auc) == (row["published"]["roc_auc"], row["published"]["pr_auc"])


@needs_published_files
def test_the_published_files_are_pulled_and_imported(monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED / "weights"))
    for name in PULLED:
        assert pull(name) == find_weights(name)
    imported = import_weights(SHARED / "weights" / "choi2017" / "model_best.hdf5")
    assert imported == find_weights(IMPORT_ONLY)
    states = {row.name: row.state for row in list_weights()}
    assert states == {**dict.fromkeys([*PULLED, IMPORT_ONLY], "cached"), UNCALIBRATED: "uncalibrated"}
    for row in list_weights():
        assert len(load_tensors(find_weights(row.name))) > 20
        assert Path(read_header(find_weights(row.name)).provenance.source).name


@needs_published_files
@pytest.mark.parametrize("name", ["won2020-mtat-fcn", "won2020-mtat-crnn"])
def test_another_network_of_the_same_authors_is_known_for_what_it_is(name, tmp_path):
    source = SHARED / "weights" / "won2020" / "mtat_musicnn.pth"
    with pytest.raises(WeightsError, match=f"is won2020-mtat-musicnn by its SHA-256, not {name}"):
        import_weights(source, name=name, output=tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
