"""Batch norms without statistics: what stands in for them, who refuses them, and how they are estimated."""

import dataclasses
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import make_tiny_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from toy_dataset import TINY
from typer.testing import CliRunner

from tagcli import load_tagger
from tagcli.calibration.batch_norm import calibrate_batch_norms
from tagcli.calibration.clip_maps import ClipMaps
from tagcli.calibration.estimation import estimate_statistics
from tagcli.checkpoint import CheckpointHeader, hash_artists, load_tensors, read_header, save_checkpoint
from tagcli.cli import app
from tagcli.errors import StoreError, TagcliError, WeightsError
from tagcli.models.forms import build_model, to_inference_form
from tagcli.tagger import open_tagger
from tagcli.training.recipe_document import resolve_recipe
from tagcli.weights.places import cached_place

SAME = 1e-5
"""float32 sums in another order."""


def make_uncalibrated(path, *, name):
    """The tiny tagger with batch norms that take each clip's statistics."""
    make_tiny_checkpoint(path)
    header, tensors = read_header(path), load_tensors(path)
    architecture = dataclasses.replace(header.architecture, batch_norm_statistics="clip")
    save_checkpoint(
        path,
        dataclasses.replace(header, name=name, architecture=architecture),
        {key: tensor for key, tensor in tensors.items() if "running" not in key and "tracked" not in key},
    )
    return path


@pytest.fixture(scope="session")
def uncalibrated(tmp_path_factory):
    return make_uncalibrated(tmp_path_factory.mktemp("weights") / "odd.safetensors", name="odd")


@pytest.fixture(scope="session")
def folder(tmp_path_factory, music, encode):
    """Five tracks of two seconds and more, in two folders."""
    root = tmp_path_factory.mktemp("collection")
    for number in range(5):
        place = root / f"artist {number % 2}"
        place.mkdir(exist_ok=True)
        encode(place / f"{number}.flac", music(2.5 + number / 2, 8000, n_channels=1, seed=number), 8000)
    return root


@pytest.fixture
def cached(tmp_path, uncalibrated):
    """The uncalibrated weights, in the weights folder."""
    place = cached_place("odd")
    place.parent.mkdir(parents=True)
    shutil.copy(uncalibrated, place)
    return place


@pytest.fixture
def invoke():
    def call(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


def random_clips(n_clips, n_samples=16_000, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n_clips, n_samples)).astype(np.float32) / 10)


# The statistics of a clip


def batch_of_all(network, log_mel):
    """Logits of a network whose batch norms take the statistics of the batch at hand, written out once more."""
    maps = log_mel[:, None]
    for block in network.blocks:
        maps = functional.conv2d(maps, block.conv.weight, block.conv.bias, padding=1)
        mean = maps.mean(dim=(0, 2, 3), keepdim=True)
        variance = (maps - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        maps = (maps - mean) / (variance + network.config.batch_norm_eps).sqrt()
        maps = maps * block.norm.weight[:, None, None] + block.norm.bias[:, None, None]
        maps = functional.max_pool2d(functional.elu(maps), block.pool.kernel_size)
    return network.dense(maps.amax(dim=(2, 3)))


@pytest.fixture
def odd(uncalibrated):
    """The uncalibrated network, with negative scales among its norms."""
    network = build_model(read_header(uncalibrated).architecture)
    state = load_tensors(uncalibrated)
    network.load_state_dict({key[6:]: tensor for key, tensor in state.items() if key.startswith("model.")})
    with torch.no_grad():
        for block in network.blocks:
            block.norm.weight.uniform_(-2, 2)
            block.norm.bias.normal_()
    return network.eval()


@pytest.mark.parametrize("spread_db", [20.0, 0.05])  # with the smaller one the constant in the variances counts
def test_a_clip_is_normalised_by_its_own_statistics(spread_db, odd, seeded):
    log_mel = torch.randn(3, 32, 126) * spread_db - 40
    expected = torch.cat([batch_of_all(odd, one[None]) for one in log_mel])
    scoring = to_inference_form(odd)
    for network in (odd, scoring):
        torch.testing.assert_close(network(log_mel), expected, rtol=SAME, atol=SAME)
        torch.testing.assert_close(network.embed(log_mel).logits, expected, rtol=SAME, atol=SAME)
    assert not any(parameter.requires_grad for parameter in scoring.parameters())
    assert odd.blocks[0].conv.weight.requires_grad


def test_batch_mates_change_nothing(uncalibrated):
    module = load_tagger(uncalibrated, device="cpu").module
    waveforms = random_clips(4)
    together = module(waveforms)
    alone = torch.cat([module(one[None]) for one in waveforms])
    torch.testing.assert_close(together, alone, rtol=SAME, atol=SAME)


def test_headers_from_before_there_was_a_choice_have_running_statistics(tiny_checkpoint, uncalibrated):
    header = read_header(tiny_checkpoint)
    text = header.to_json()
    assert ', "batch_norm_statistics": "running"' in text
    assert CheckpointHeader.from_json(text.replace(', "batch_norm_statistics": "running"', "")) == header
    assert read_header(uncalibrated).architecture.batch_norm_statistics == "clip"
    with pytest.raises(TypeError):
        CheckpointHeader.from_json(text.replace('"batch_norm_statistics": "running"', '"batch_norm_statistics": "no"'))


# The estimate


def estimate(network, log_mel, *, n_workers=2):
    blocks = list(network.blocks)
    with ThreadPoolExecutor(n_workers) as crew, torch.no_grad():
        return estimate_statistics(
            blocks, lambda number: log_mel[number], range(len(log_mel)), crew=crew, on_progress=lambda *_: None
        )


def settled(network, statistics):
    """The network with what was estimated in its batch norms."""
    running = build_model(dataclasses.replace(network.config, batch_norm_statistics="running"))
    missing = running.load_state_dict(network.state_dict(), strict=False)
    assert not missing.unexpected_keys
    for block, found in zip(running.blocks, statistics, strict=True):
        assert isinstance(block.norm, nn.BatchNorm2d)
        block.norm.running_mean.copy_(found.mean)
        block.norm.running_var.copy_(found.variance)
    return running.eval()


@pytest.mark.parametrize("n_clips", [1, 2, 7])
def test_estimates_are_those_of_one_batch_of_everything(n_clips, odd, seeded):
    log_mel = torch.randn(n_clips, 32, 126) * torch.linspace(2, 30, n_clips)[:, None, None] - 40
    network = settled(odd, estimate(odd, log_mel))
    expected = batch_of_all(odd, log_mel)
    torch.testing.assert_close(network(log_mel), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(to_inference_form(network)(log_mel), expected, rtol=1e-4, atol=1e-4)


def test_estimates_do_not_depend_on_the_number_of_threads(odd, seeded):
    log_mel = torch.randn(5, 32, 126)
    for one, other in zip(estimate(odd, log_mel, n_workers=1), estimate(odd, log_mel, n_workers=3), strict=True):
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.variance, other.variance)


@given(st.lists(st.integers(0, 5), max_size=12))
def test_maps_come_back_in_any_order(order):
    kept = [np.full((3, 4), number, dtype=np.float32) + np.arange(4, dtype=np.float32) for number in range(6)]
    with ClipMaps((3, 4)) as maps:
        assert [maps.add(log_mel) for log_mel in kept] == list(range(6))
        for number in order:
            assert np.array_equal(maps.read(number), kept[number])


def test_a_temporary_folder_that_is_not_there_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StoreError, match=r"missing .*set TMPDIR"):
        ClipMaps((3, 4))


# Music


def test_a_checkpoint_is_calibrated_on_a_folder(uncalibrated, folder, tmp_path):
    target = tmp_path / "mine.safetensors"
    told = []
    music = calibrate_batch_norms(
        uncalibrated, folder, target, n_workers=2, on_progress=lambda *state: told.append(state)
    )
    assert (music.n_tracks, round(music.hours * 3600, 6)) == (5, 10.0)
    header = read_header(target)
    assert (header.name, header.architecture.batch_norm_statistics) == ("mine", "running")
    assert str(music) in header.provenance.training_data
    assert header.provenance.artists == hash_artists(["artist 0", "artist 1"])
    assert (header.provenance.source_sha256, header.thresholds) == ("0" * 64, None)
    assert told[0] == ("listening", 1, 5)
    assert told[4:6] == [("listening", 5, 5), ("block 1 of 5", 1, 5)]
    assert told[-1] == ("block 5 of 5", 5, 5)
    before, after = load_tensors(uncalibrated), load_tensors(target)
    assert set(after) - set(before) == {
        f"model.blocks.{index}.norm.{part}"
        for index in range(5)
        for part in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


def test_on_a_single_clip_it_says_what_the_clips_own_statistics_say(uncalibrated, music, encode, tmp_path):
    (tmp_path / "music").mkdir()
    track = encode(tmp_path / "music" / "one.wav", music(2, 8000, n_channels=1), 8000)
    target = tmp_path / "one.safetensors"
    calibrate_batch_norms(uncalibrated, track.parent, target)
    (before,) = load_tagger(uncalibrated, device="cpu").tag(track, top_n=6)
    (after,) = load_tagger(target, device="cpu").tag(track, top_n=6)
    assert [tag.tag for tag in before.tags] == [tag.tag for tag in after.tags]
    np.testing.assert_allclose([tag.score for tag in before.tags], [tag.score for tag in after.tags], atol=SAME)


def test_the_middle_clip_of_a_track_is_heard(uncalibrated, folder, music, encode, tmp_path):
    """A loud middle between silent ends."""
    long = np.zeros((1, 48_000), dtype=np.float32)
    long[:, 16_000:32_000] = music(2, 8000, n_channels=1)
    for name, planes in (("long", long), ("short", long[:, 16_000:32_000])):
        (tmp_path / name).mkdir()
        encode(tmp_path / name / "one.wav", planes, 8000)
        calibrate_batch_norms(uncalibrated, tmp_path / name, tmp_path / f"{name}.safetensors")
    one, other = (load_tensors(tmp_path / f"{name}.safetensors") for name in ("long", "short"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_same_music_gives_the_same_bytes(uncalibrated, folder, tmp_path):
    """Whatever the files are called, whoever else is there twice, and however many threads there are."""
    other = tmp_path / "other"
    for number, path in enumerate(sorted(folder.rglob("*.flac"), reverse=True)):
        place = other / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"track {number}.flac")
    shutil.copy(folder / "artist 0" / "0.flac", other / "artist 0" / "again.flac")
    targets = [tmp_path / place / "x.safetensors" for place in ("first", "second")]
    for target, place, n_workers in zip(targets, (folder, other), (1, 3), strict=True):
        target.parent.mkdir()
        calibrate_batch_norms(uncalibrated, place, target, n_workers=n_workers)
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_an_interrupted_calibration_leaves_nothing(uncalibrated, folder, tmp_path):
    n_threads, n_own = threading.active_count(), torch.get_num_threads()

    def stop(stage, n_done, n_all):
        if stage.startswith("block 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate_batch_norms(uncalibrated, folder, tmp_path / "x.safetensors", on_progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert (threading.active_count(), torch.get_num_threads()) == (n_threads, n_own)


def test_what_needs_no_calibration_gets_none(tiny_checkpoint, folder, tmp_path):
    with pytest.raises(WeightsError, match=r"tiny has the statistics .* nothing to calibrate"):
        calibrate_batch_norms(tiny_checkpoint, folder, tmp_path / "x.safetensors")


# The command


def test_calibrated_weights_have_a_name_of_their_own(cached, folder, invoke):
    result = invoke("weights", "calibrate", "odd", folder)
    place = cached_place("odd-calibrated")
    assert result.stdout == f"{place}\n"
    assert "Calibrated on 5 tracks, 1 clip of each" in result.stderr
    assert "Statistics of 5 tracks are rough; give 100 or more." in result.stderr
    first = place.read_bytes()
    assert "is there, and is not written over" in invoke("weights", "calibrate", "odd", folder, code=1).stderr
    assert place.read_bytes() == first
    place.unlink()
    assert invoke("-q", "weights", "calibrate", "odd", folder, "-j", "3").stderr == ""
    assert place.read_bytes() == first
    rows = invoke("predict", "-m", "odd-calibrated", "--format", "csv", folder).stdout
    assert len(rows.splitlines()) == 1 + 5 * 5
    states = {line.split()[0]: line.split()[1] for line in invoke("weights", "list").stdout.splitlines()}
    assert (states["odd"], states["odd-calibrated"]) == ("uncalibrated", "cached")
    assert "calibrated by tagcli on 5 tracks" in invoke("weights", "info", "odd-calibrated").stdout
    assert "run `tagcli weights calibrate odd FOLDER`" in invoke("weights", "info", "odd").stdout


def test_it_may_be_a_path_and_lie_elsewhere(uncalibrated, folder, tmp_path, invoke):
    output = tmp_path / "mine.safetensors"
    assert invoke("weights", "calibrate", uncalibrated, folder, "-o", output).stdout == f"{output}\n"
    assert read_header(output).name == "mine"
    assert not cached_place("odd-calibrated").exists()


def test_what_is_there_is_not_written_over(uncalibrated, folder, invoke):
    before = uncalibrated.read_bytes()
    assert (
        "is not written over" in invoke("weights", "calibrate", uncalibrated, folder, "-o", uncalibrated, code=1).stderr
    )
    assert uncalibrated.read_bytes() == before


def test_short_tracks_are_left_out(uncalibrated, folder, music, encode, tmp_path, invoke):
    outputs = [tmp_path / place / "x.safetensors" for place in ("first", "second")]
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    n_clip = read_header(uncalibrated).clip.n_samples
    encode(mixed / "cut.wav", music(0.7 * n_clip / 8000, 8000, n_channels=1, seed=99), 8000)
    for output, music_folder, code in zip(outputs, (folder, mixed), (0, 3), strict=True):
        output.parent.mkdir()
        result = invoke("weights", "calibrate", uncalibrated, music_folder, "-o", output, code=code)
    assert "cut.wav is shorter than a clip" in result.stderr
    first, second = (load_tensors(output) for output in outputs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bad_files_are_told_of_and_change_nothing(uncalibrated, folder, music, encode, tmp_path, invoke):
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    (mixed / "noise.mp3").write_bytes(bytes(range(256)) * 20)
    (mixed / "empty.flac").touch()
    encode(mixed / "short.wav", music(0.3, 8000, n_channels=1), 8000)
    outputs = [tmp_path / place / "x.safetensors" for place in ("first", "second")]
    for output in outputs:
        output.parent.mkdir()
    invoke("weights", "calibrate", uncalibrated, folder, "-o", outputs[0])
    result = invoke("weights", "calibrate", uncalibrated, mixed, "-o", outputs[1], code=3)
    assert all(name in result.stderr for name in ("noise.mp3", "empty.flac", "short.wav"))
    assert result.stdout == f"{outputs[1]}\n"
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_silent_tracks_are_passed_over(uncalibrated, folder, encode, tmp_path, invoke):
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    encode(mixed / "silence.wav", np.zeros((1, 20_000), dtype=np.float32), 8000)
    result = invoke("weights", "calibrate", uncalibrated, mixed, "-o", tmp_path / "x.safetensors")
    assert "silence.wav is silent" in result.stderr
    assert "Calibrated on 5 tracks" in result.stderr


def test_without_music_there_is_no_calibration(uncalibrated, encode, tmp_path, invoke):
    (tmp_path / "none").mkdir()
    (tmp_path / "silent").mkdir()
    encode(tmp_path / "silent" / "x.wav", np.zeros((1, 20_000), dtype=np.float32), 8000)
    output = tmp_path / "x.safetensors"
    for name, sentence in (("none", "No audio was found"), ("silent", "can be listened to"), ("missing", "missing")):
        result = invoke("weights", "calibrate", uncalibrated, tmp_path / name, "-o", output, code=1)
        assert sentence in result.stderr
    assert not output.exists()


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("mine.pth", "ends in .safetensors"),
        ("missing/mine.safetensors", "There is no folder"),
        ("data/tagcli/weights/won2020-msd-fcn.safetensors", "place of the published weights won2020-msd-fcn"),
    ],
)
def test_a_wrong_place_is_refused_before_anything_is_heard(
    output, sentence, uncalibrated, tmp_path, monkeypatch, invoke
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    result = invoke("weights", "calibrate", uncalibrated, tmp_path / "not looked at", "-o", tmp_path / output, code=1)
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_weights_that_are_not_here_are_told_of(folder, invoke):
    assert "weights pull choi2017" in invoke("weights", "calibrate", "choi2017-compact-cnn", folder, code=1).stderr
    assert "no weights" in invoke("weights", "calibrate", "zzz", folder, code=1).stderr


# Who refuses


def test_scores_that_mean_little_are_refused(cached, tiny_checkpoint, folder, toy, tmp_path, invoke):
    toy_file, run = toy.root / "toy.tsv", tmp_path / "run"
    for arguments in (
        ("predict", "-m", "odd", folder),
        ("eval", "odd", toy_file),
        ("eval", "odd", folder, "--teacher", tiny_checkpoint),
        ("eval", tiny_checkpoint, folder, "--teacher", "odd"),
        ("train", toy_file, "--out", run, "--teacher", "odd"),
        ("finetune", "odd", toy_file, "--out", run),
    ):
        result = invoke(*arguments, code=1)
        assert result.stdout == ""
        (line,) = [line for line in result.stderr.splitlines() if "published without" in line]
        assert "`tagcli weights calibrate odd FOLDER`" in line
        assert "use odd-calibrated" in line
    assert not (run / "best.safetensors").exists()
    with pytest.raises(WeightsError, match="published without"):
        open_tagger("odd")


def test_the_command_names_a_file_that_has_no_name(uncalibrated, folder, invoke):
    result = invoke("predict", "-m", uncalibrated, folder, code=1)
    assert f"`tagcli weights calibrate {uncalibrated} FOLDER`" in result.stderr


def test_python_may_use_them_as_they_are(uncalibrated, folder):
    rows = list(load_tagger(uncalibrated, device="cpu").tag(folder))
    assert len(rows) == 5
    assert all(row.tags for row in rows)


def test_learning_gathers_statistics():
    document = {**TINY, "model": {**TINY["model"], "batch_norm_statistics": "clip"}}
    with pytest.raises(TagcliError, match="batch_norm_statistics is 'running'"):
        resolve_recipe(document, n_tags=2, place="x")
