"""The corridor: many tracks at once, in order, the same scores whichever way they go, and nothing left behind."""

import dataclasses
import functools
import gc
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import count_decoders

import tagcli
from tagcli.audio.clips import ClipChoice
from tagcli.audio.reading import ThreadReader, TrackClips
from tagcli.audio.workers import ProcessReader
from tagcli.checkpoint import load_tensors, read_header
from tagcli.errors import CheckpointError, DeviceError, FailureCode, SkipCode, WarningCode, WeightsError
from tagcli.features.log_mel import LogMel
from tagcli.models.convnet import ConvNet
from tagcli.rows import Row, Status
from tagcli.store import Store
from tagcli.tagger import StageTimes, Tagger, TagOptions, load_tagger, open_tagger, pipeline
from tagcli.tagger.device import choose_device, choose_half, describe_device
from tagcli.tagger.module import TaggerModule
from tagcli.tagger.pipeline import tag_tracks
from tagcli.tagger.scorer import BatchScorer, CpuScorer
from tagcli.tags import Failure, TrackScores

SCORES = 1e-5
"""Across batch sizes, workers and paths: float32 sums in another order."""
CUDA_SCORES = 1e-4
"""Across devices: another Fourier transform and other convolutions, in float32 throughout."""
HALF_SCORES = 5e-3
"""float16 has eleven bits."""
BFLOAT16_SCORES = 2e-2
"""bfloat16 has eight."""
SCORE_SPREAD = 1e-3
"""A tagger that says the same of every track would pass any comparison."""
PATIENCE_SECONDS = 20.0

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def module(tiny_checkpoint):
    return TaggerModule.from_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def collection(music, encode, tmp_path_factory):
    """Nine tracks that differ in length, format and fate; `0_long` takes longest and comes first."""
    folder = tmp_path_factory.mktemp("collection")
    encode(folder / "0_long.mp3", music(21, 44_100, seed=1), 44_100)
    encode(folder / "1_padded.wav", music(1.4, 8000, n_channels=1, seed=2), 8000)
    encode(folder / "2_exact.wav", music(6, 8000, n_channels=1, seed=3), 8000)
    encode(folder / "3_flac.flac", music(7.5, 22_050, seed=4), 22_050)
    encode(folder / "4_silent.wav", np.zeros((1, 30_000), dtype=np.float32), 8000)
    (folder / "5_text.mp3").write_text("not audio\n" * 400)
    encode(folder / "6_short.wav", music(0.7, 8000, n_channels=1, seed=5), 8000)
    encode(folder / "7_m4a.m4a", music(5, 44_100, seed=6), 44_100)
    (folder / "8_empty.flac").touch()
    return sorted(folder.iterdir())


def run_on(way, module, paths, options, *, make_reader=None, **more):
    """Tag by the CPU's way, or by the GPU's way on a CPU, with one device or two."""

    def open_scorer(on_error):
        if way == "whole":
            return CpuScorer(module, batch_size=options.batch_size, with_embeddings=options.with_embeddings)
        return BatchScorer(
            [module] * (2 if way == "two devices" else 1),
            clip_samples=module.header.clip.n_samples,
            batch_size=options.batch_size,
            with_embeddings=options.with_embeddings,
            on_error=on_error,
        )

    make_reader = make_reader or functools.partial(make_thread_reader, module, options)
    options = dataclasses.replace(options, n_workers=options.n_workers or 2)
    return tag_tracks(paths, make_reader=make_reader, open_scorer=open_scorer, options=options, **more)


def make_thread_reader(module, options):
    header = module.header
    return ThreadReader(sample_rate=header.front_end.sample_rate, rule=header.clip, choice=options.clips)


def tag_whole(module, paths, options):
    return run_on("whole", module, paths, options)


WAYS = pytest.mark.parametrize(
    "run",
    [functools.partial(run_on, way) for way in ("whole", "batched", "two devices")],
    ids=["whole", "batched", "two devices"],
)


def assert_same_results(found, expected, tolerance=SCORES):
    assert [type(result) for result in found] == [type(result) for result in expected]
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, Failure):
            assert ours == theirs
            continue
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=tolerance)
        told = ("path", "n_clips", "duration_seconds", "warnings")
        assert [getattr(ours, name) for name in told] == [getattr(theirs, name) for name in told]


def score_by_hand(path, module, choice=None):
    """Scores of each clip [shape=(n_clips, n_tags)], one clip at a time through the trained form."""
    header = module.header
    clips = TrackClips(path, sample_rate=header.front_end.sample_rate, rule=header.clip, choice=choice or ClipChoice())
    return torch.cat([module(torch.from_numpy(clip.waveform)[None]) for clip in clips]).numpy()


@pytest.fixture(scope="module")
def expected(module, collection):
    """What the simplest run gives: one worker, one clip at a time."""
    results = list(tag_whole(module, collection, TagOptions(n_workers=1, batch_size=1)))
    scores = np.stack([result.scores for result in results if isinstance(result, TrackScores)])
    assert scores.std(axis=0).max() > SCORE_SPREAD
    return results


def test_every_track_has_its_result_in_its_place(expected, collection):
    assert [result.path for result in expected] == collection
    codes = [result.code if isinstance(result, Failure) else None for result in expected]
    assert codes == [
        None,
        None,
        None,
        None,
        SkipCode.SILENT,
        FailureCode.NOT_AUDIO,
        FailureCode.TOO_SHORT,
        None,
        FailureCode.EMPTY,
    ]
    for result in expected:
        if isinstance(result, Failure):
            assert str(result.path) in result.message
            assert "\n" not in result.message


def test_clips_durations_and_warnings_are_told(expected):
    long, padded, exact, flac, silent, *_ = expected
    assert [track.n_clips for track in (long, padded, exact, flac)] == [11, 1, 3, 4]
    durations = [track.duration_seconds for track in (long, padded, exact, flac, silent)]
    assert durations == pytest.approx([21, 1.4, 6, 7.5, 3.75], abs=0.06)
    assert [track.warnings for track in (long, padded, exact)] == [(), (WarningCode.PADDED,), ()]


def test_a_tracks_scores_are_the_mean_over_its_clips_of_the_sigmoid(expected, collection, module):
    for path, result in zip(collection, expected, strict=True):
        if isinstance(result, TrackScores):
            by_clip = score_by_hand(path, module)
            assert len(by_clip) == result.n_clips
            np.testing.assert_allclose(result.scores, by_clip.mean(axis=0), rtol=0, atol=SCORES)
            assert result.scores.dtype == np.float32


def test_the_module_is_the_trained_network(module, tiny_checkpoint, music):
    header = read_header(tiny_checkpoint)
    trained = torch.nn.ModuleDict({"front_end": LogMel(header.front_end), "model": ConvNet(header.architecture)})
    trained.load_state_dict(load_tensors(tiny_checkpoint))
    trained.eval()
    waveform = torch.from_numpy(music(2, 8000, n_channels=2))
    with torch.no_grad():
        output = trained["model"].embed(trained["front_end"](waveform))
    found = module.score(waveform, with_embeddings=True)
    torch.testing.assert_close(found.scores, torch.sigmoid(output.logits), rtol=0, atol=SCORES)
    without = module.score(waveform, with_embeddings=False)
    assert without.embeddings == []
    torch.testing.assert_close(without.scores, torch.sigmoid(output.logits), rtol=0, atol=SCORES)
    torch.testing.assert_close(module(waveform), without.scores)
    for ours, theirs in zip(found.embeddings, output.embeddings, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@WAYS
@pytest.mark.parametrize(("n_workers", "batch_size"), [(1, 3), (2, 1), (2, 16), (4, 3), (3, None)])
def test_workers_and_batches_change_nothing(run, n_workers, batch_size, module, collection, expected):
    options = TagOptions(n_workers=n_workers, batch_size=batch_size)
    assert_same_results(list(run(module, collection, options)), expected)


@WAYS
def test_order_and_companions_change_nothing(run, module, collection, expected):
    order = np.random.default_rng(0).permutation(len(collection)).tolist()
    options = TagOptions(n_workers=2, batch_size=4)
    shuffled = list(run(module, [collection[index] for index in order], options))
    assert_same_results(shuffled, [expected[index] for index in order])
    for index in (1, 4):
        assert_same_results(list(run(module, [collection[index]], options)), [expected[index]])
    twice = list(run(module, [collection[2]] * 3, options))
    assert_same_results(twice, [expected[2]] * 3)


@pytest.mark.parametrize("wrong", [{"n_workers": 0}, {"batch_size": 0}, {"n_workers": -1, "batch_size": 4}])
def test_nobody_and_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="score nothing"):
        TagOptions(**wrong)


@WAYS
def test_no_tracks_give_no_results(run, module):
    assert list(run(module, [], TagOptions(n_workers=2))) == []


@WAYS
@pytest.mark.parametrize("clips", ["middle", "3"])
def test_chosen_clips_only_are_heard(run, clips, module, collection):
    paths = [collection[index] for index in (0, 1, 2, 3)]
    choice = ClipChoice.parse(clips)
    options = TagOptions(n_workers=2, clips=choice, with_taggram=True)
    for path, result in zip(paths, run(module, paths, options), strict=True):
        by_clip = score_by_hand(path, module, choice)
        np.testing.assert_allclose(result.taggram, by_clip, rtol=0, atol=SCORES)
        assert result.n_clips == len(by_clip)


@WAYS
def test_the_taggram_holds_each_clip_and_when_it_begins(run, module, collection):
    options = TagOptions(n_workers=2, batch_size=3, with_taggram=True)
    long, flac = run(module, [collection[0], collection[3]], options)
    assert long.taggram.shape == (11, 6)
    assert long.clip_starts_seconds.shape == (11,)
    assert long.clip_starts_seconds[:10].tolist() == [2.0 * index for index in range(10)]
    assert flac.clip_starts_seconds.tolist() == pytest.approx([0, 2, 4, 5.5], abs=1e-3)
    for result, path in ((long, collection[0]), (flac, collection[3])):
        np.testing.assert_allclose(result.taggram, score_by_hand(path, module), rtol=0, atol=SCORES)
        np.testing.assert_allclose(result.taggram.mean(axis=0), result.scores, rtol=0, atol=SCORES)


@WAYS
def test_embeddings_are_the_means_over_the_clips(run, module, collection):
    options = TagOptions(n_workers=2, batch_size=3, with_embeddings=True)
    for path, result in zip(collection[2:4], run(module, collection[2:4], options), strict=True):
        assert [embedding.shape for embedding in result.embeddings] == [(4,)] * 5
        clips = TrackClips(path, sample_rate=8000, rule=module.header.clip, choice=ClipChoice())
        of_clips = [module.score(torch.from_numpy(clip.waveform)[None], with_embeddings=True) for clip in clips]
        for block, embedding in enumerate(result.embeddings):
            by_hand = torch.cat([of_clip.embeddings[block] for of_clip in of_clips]).mean(dim=0)
            np.testing.assert_allclose(embedding, by_hand, rtol=0, atol=SCORES)


@WAYS
def test_what_was_not_asked_for_is_not_kept(run, module, collection):
    (result,) = run(module, collection[2:3], TagOptions(n_workers=1))
    assert (result.taggram, result.clip_starts_seconds, result.embeddings) == (None, None, ())


def test_almost_silent_is_not_silent(module, tmp_path, music):
    paths = []
    for name, peak in (("below", 0.9e-4), ("above", 1.5e-4)):
        waveform = music(2, 8000, n_channels=1)[0]
        paths.append(tmp_path / f"{name}.wav")
        soundfile.write(paths[-1], waveform / np.abs(waveform).max() * peak, 8000, subtype="FLOAT")
    below, above = tag_whole(module, paths, TagOptions(n_workers=1))
    assert below.code is SkipCode.SILENT
    assert below.duration_seconds == 2
    assert isinstance(above, TrackScores)


def test_silence_before_and_after_the_music_is_not_a_silent_track(module, tmp_path, music):
    waveform = np.zeros(80_000, dtype=np.float32)
    waveform[40_000:42_000] = -np.abs(music(0.25, 8000, n_channels=1)[0])
    soundfile.write(tmp_path / "gap.wav", waveform, 8000)
    (result,) = tag_whole(module, [tmp_path / "gap.wav"], TagOptions(n_workers=1))
    assert isinstance(result, TrackScores)
    assert np.isfinite(result.scores).all()


# Threads: bounded, and none left behind


def tagcli_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tagcli-")]


def assert_no_threads_are_left():
    deadline = time.monotonic() + PATIENCE_SECONDS
    while tagcli_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tagcli_threads() == []


@WAYS
def test_whoever_stops_early_leaves_no_threads(run, module, collection):
    results = run(module, collection * 20, TagOptions(n_workers=3, batch_size=2))
    next(results)
    assert tagcli_threads()
    started = time.monotonic()
    results.close()
    assert tagcli_threads() == []
    assert time.monotonic() - started < PATIENCE_SECONDS


@WAYS
def test_whoever_forgets_the_generator_leaves_no_threads(run, module, collection):
    results = run(module, collection * 20, TagOptions(n_workers=3, batch_size=2))
    next(results)
    del results
    gc.collect()
    assert_no_threads_are_left()


@WAYS
def test_a_finished_run_leaves_no_threads_and_torchs_threads_as_they_were(run, module, collection):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        list(run(module, collection[:3], TagOptions(n_workers=2)))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert tagcli_threads() == []


@WAYS
def test_a_long_track_does_not_hold_up_the_others_and_they_do_not_run_away(run, module, collection):
    may_go_on = threading.Event()
    n_started = 0

    class SlowReader:
        def open(self, path):
            nonlocal n_started
            n_started += 1
            if path == collection[0]:
                assert may_go_on.wait(PATIENCE_SECONDS)
            return make_thread_reader(module, TagOptions()).open(path)

        def stop(self):
            pass

        close = stop

    def let_go():
        deadline = time.monotonic() + PATIENCE_SECONDS
        while n_started < pipeline.RESULTS_AHEAD and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # long enough to run away
        counts.append(n_started)
        may_go_on.set()

    counts = []
    waiter = threading.Thread(target=let_go)
    waiter.start()
    paths = [collection[0]] + [collection[6]] * (2 * pipeline.RESULTS_AHEAD)
    results = list(run(module, paths, TagOptions(), make_reader=SlowReader))
    waiter.join()
    assert counts == [pipeline.RESULTS_AHEAD]
    assert [result.path for result in results] == paths


@WAYS
def test_results_come_before_all_paths_are_known(run, module, collection):
    def paths():
        yield from [collection[1]] * 8
        while not has_result.is_set():
            yield collection[1]

    has_result = threading.Event()
    results = run(module, paths(), TagOptions(n_workers=1, batch_size=1))
    assert next(results).path == collection[1]
    has_result.set()
    assert all(isinstance(result, TrackScores) for result in results)


class Broken(TaggerModule):
    """A tagger whose device fails at the third batch."""

    n_batches = 0

    def score(self, waveform, *, with_embeddings):
        self.n_batches += 1
        if self.n_batches == 3:
            msg = "the device is gone"
            raise RuntimeError(msg)
        return super().score(waveform, with_embeddings=with_embeddings)


@WAYS
@pytest.mark.parametrize("n_workers", [1, 3])
def test_an_unexpected_error_comes_out_and_nothing_hangs(run, n_workers, tiny_checkpoint, collection):
    broken = Broken.from_checkpoint(tiny_checkpoint)
    with pytest.raises(RuntimeError, match="the device is gone"):
        list(run(broken, collection * 5, TagOptions(n_workers=n_workers, batch_size=1)))
    assert_no_threads_are_left()


@WAYS
@pytest.mark.parametrize("n_workers", [1, 3])
def test_an_unexpected_error_while_decoding_comes_out(run, n_workers, module, collection):
    class BrokenReader:
        def open(self, path):
            if path == collection[3]:
                msg = "out of memory"
                raise MemoryError(msg)
            return make_thread_reader(module, TagOptions()).open(path)

        def stop(self):
            pass

        close = stop

    options = TagOptions(n_workers=n_workers, batch_size=1)
    with pytest.raises(MemoryError, match="out of memory"):
        list(run(module, collection * 5, options, make_reader=BrokenReader))
    assert_no_threads_are_left()


@WAYS
def test_an_error_of_the_paths_comes_out(run, module, collection):
    def paths():
        yield collection[1]
        msg = "the drive is gone"
        raise OSError(msg)

    with pytest.raises(OSError, match="the drive is gone"):
        list(run(module, paths(), TagOptions(n_workers=2)))
    assert_no_threads_are_left()


@WAYS
def test_a_file_that_vanishes_is_a_failure_in_its_place(run, module, collection):
    paths = [collection[1], Path("gone.mp3"), collection[1].parent, collection[2]]
    results = list(run(module, paths, TagOptions(n_workers=2)))
    assert [result.path for result in results] == paths
    assert [getattr(result, "code", None) for result in results] == [
        None,
        FailureCode.MISSING,
        FailureCode.UNREADABLE,
        None,
    ]


# Devices


def test_the_cpu_is_there_and_named():
    assert choose_device("cpu") == CPU
    assert describe_device(CPU) == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:999", "cuda:-1", "meta", "xla", "cpu:0:1"])
def test_a_device_that_is_not_there_is_never_replaced(name):
    with pytest.raises(DeviceError) as caught:
        choose_device(name)
    assert "use " in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_without_cuda_is_an_error_that_says_what_to_do(name):
    with pytest.raises(DeviceError, match=r"There is no CUDA device here.*--device cpu"):
        choose_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_and_the_cpu_agree(tiny_checkpoint, collection):
    options = TagOptions(n_workers=4, with_embeddings=True, with_taggram=True)
    on_cpu = list(load_tagger(tiny_checkpoint, device="cpu").score(collection, options))
    tagger = load_tagger(tiny_checkpoint, device="cuda")
    assert tagger.device_description.startswith("cuda:0 (")
    for batch_size in (1, 3, 64):
        chosen = dataclasses.replace(options, batch_size=batch_size)
        on_cuda = list(tagger.score(collection, chosen))
        assert_same_results(on_cuda, on_cpu, CUDA_SCORES)
        for ours, theirs in zip(on_cuda, on_cpu, strict=True):
            if isinstance(theirs, TrackScores):
                np.testing.assert_allclose(ours.taggram, theirs.taggram, rtol=0, atol=CUDA_SCORES)
                for block, expected_block in zip(ours.embeddings, theirs.embeddings, strict=True):
                    np.testing.assert_allclose(block, expected_block, rtol=1e-3, atol=1e-3)


# The library's front door


@pytest.fixture
def tagger(tiny_checkpoint):
    return load_tagger(tiny_checkpoint, device="cpu")


def test_load_tagger_takes_a_path_a_text_and_a_run(tiny_checkpoint, tmp_path):
    (tmp_path / "best.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    taggers = [load_tagger(place, device="cpu") for place in (tiny_checkpoint, str(tiny_checkpoint), tmp_path)]
    for tagger in taggers:
        assert isinstance(tagger, Tagger)
        assert tagger.header.name == "tiny"
        assert tagger.device == CPU
        assert len(tagger.sha256) == 64
    assert len({tagger.sha256 for tagger in taggers}) == 1


def test_load_tagger_says_what_is_wrong(tmp_path, tiny_checkpoint):
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors"):
        load_tagger(tmp_path / "nowhere.safetensors")
    with pytest.raises(WeightsError, match="tagcli weights pull won2020-msd-fcn"):
        load_tagger("won2020-msd-fcn")
    (tmp_path / "cut.safetensors").write_bytes(tiny_checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        load_tagger(tmp_path / "cut.safetensors")


def test_tensors_that_do_not_fit_are_refused(tmp_path, tiny_checkpoint):
    from tagcli.checkpoint import save_checkpoint

    tensors = load_tensors(tiny_checkpoint)
    del tensors["model.dense.bias"]
    save_checkpoint(tmp_path / "odd.safetensors", read_header(tiny_checkpoint), tensors)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors do not fit its configuration"):
        TaggerModule.from_checkpoint(tmp_path / "odd.safetensors")


def test_a_collection_is_tagged_from_python(tiny_checkpoint, collection):
    from tagcli import load_tagger

    rows = list(load_tagger(tiny_checkpoint, device="cpu").tag([collection[0].parent]))
    assert all(isinstance(row, Row) for row in rows)
    assert [row.path for row in rows] == collection
    assert [row.status for row in rows].count(Status.OK) == 5
    best = rows[0].tags
    assert len(best) == 5
    assert [tag.score for tag in best] == sorted((tag.score for tag in best), reverse=True)
    assert {row.written for row in rows} == {None}


def test_the_choices_of_python_are_those_of_the_program(tagger, collection):
    folder = str(collection[0].parent)
    rows = list(tagger.tag([folder], top_n=2, clips="middle", exclude=["*.mp3", "8_*"]))
    assert [row.path.name for row in rows] == [
        path.name for path in collection if path.suffix != ".mp3" and path.name[0] != "8"
    ]
    assert {(row.n_clips, len(row.tags)) for row in rows if row.status is Status.OK} == {(1, 2)}
    high = max(tag.score for tag in rows[0].tags)
    assert all(not row.tags for row in tagger.tag([folder], threshold=1.0))
    (row,) = tagger.tag([collection[1]], threshold=high, options=TagOptions(n_workers=1))
    assert [tag.score for tag in row.tags] == pytest.approx([high])
    with pytest.raises(ValueError, match="none of all, middle"):
        list(tagger.tag([folder], clips="some"))


def test_whoever_breaks_out_of_the_loop_leaves_no_threads(tagger, collection):
    for row in tagger.tag(collection * 5):
        assert row.path == collection[0]
        break
    gc.collect()
    assert_no_threads_are_left()


def test_the_library_imports_torch_only_when_it_is_used():
    assert tagcli.load_tagger is load_tagger
    assert tagcli.Tagger is Tagger
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tagcli.nothing


# Decoding in processes, and devices that run out of memory


@pytest.mark.parametrize("way", ["whole", "batched"])
def test_decoding_in_processes_changes_nothing(way, module, collection, expected):
    header = module.header
    make_reader = functools.partial(
        ProcessReader, sample_rate=header.front_end.sample_rate, rule=header.clip, choice=ClipChoice()
    )
    options = TagOptions(n_workers=2, batch_size=4)
    found = list(run_on(way, module, collection, options, make_reader=make_reader, n_gathered=1))
    assert_same_results(found, expected)
    assert count_decoders() == 0


def test_whoever_stops_early_leaves_no_processes(module, collection):
    header = module.header
    make_reader = functools.partial(
        ProcessReader, sample_rate=header.front_end.sample_rate, rule=header.clip, choice=ClipChoice()
    )
    results = run_on("batched", module, collection * 20, TagOptions(n_workers=2), make_reader=make_reader, n_gathered=1)
    next(results)
    assert count_decoders() == 2
    results.close()
    assert count_decoders() == 0


class Small(TaggerModule):
    """A tagger on a device whose memory takes only a few clips."""

    n_clips_at_most = 3

    def score(self, waveform, *, with_embeddings):
        if len(waveform) > self.n_clips_at_most:
            msg = "out of memory"
            raise torch.OutOfMemoryError(msg)
        return super().score(waveform, with_embeddings=with_embeddings)


@pytest.mark.parametrize("n_clips_at_most", [1, 3, 8])
def test_a_batch_that_does_not_fit_is_halved_and_the_run_goes_on(
    n_clips_at_most, tiny_checkpoint, collection, expected, caplog
):
    small = Small.from_checkpoint(tiny_checkpoint)
    small.n_clips_at_most = n_clips_at_most
    options = TagOptions(n_workers=3, batch_size=11, with_embeddings=True, with_taggram=True)
    scorers = []

    def open_scorer(on_error):
        scorers.append(
            BatchScorer([small], clip_samples=16_000, batch_size=11, with_embeddings=True, on_error=on_error)
        )
        return scorers[0]

    make_reader = functools.partial(make_thread_reader, small, options)
    # the device is slower than three workers, so that batches fill
    paths = [collection[0]] * 12
    found = list(tag_tracks(paths, make_reader=make_reader, open_scorer=open_scorer, options=options))
    assert_same_results(found, [expected[0]] * 12)
    for result in found:
        np.testing.assert_allclose(result.taggram, score_by_hand(collection[0], small), rtol=0, atol=SCORES)
    assert 1 <= scorers[0].batch_size < 11
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(caplog.records)
    assert "does not suffice; clips are scored" in caplog.records[0].message


def test_a_device_that_takes_not_even_one_clip_is_an_error(tiny_checkpoint, collection):
    small = Small.from_checkpoint(tiny_checkpoint)
    small.n_clips_at_most = 0
    with pytest.raises(DeviceError, match=r"memory of cpu does not suffice for one clip.*--device cpu"):
        list(run_on("batched", small, collection, TagOptions(n_workers=2)))
    assert_no_threads_are_left()


def test_half_precision_differs_by_little(tiny_checkpoint, collection, expected):
    halved = TaggerModule.from_checkpoint(tiny_checkpoint).halve(torch.float16)
    found = list(run_on("batched", halved, collection[:4], TagOptions(n_workers=2, with_embeddings=True)))
    differences = [np.abs(ours.scores - theirs.scores).max() for ours, theirs in zip(found, expected, strict=False)]
    assert 0 < max(differences) < HALF_SCORES
    assert found[0].scores.dtype == np.float32


def pretend_to_have(monkeypatch, *names):
    """Have PyTorch say that the processor can do this; what it cannot do, it does slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True), raising=False)


def test_half_precision_on_a_cpu_that_has_it_differs_by_little(tagger, collection, expected, monkeypatch):
    pretend_to_have(monkeypatch, "amx_bf16")
    found = list(tagger.score(collection[:4], TagOptions(half=True)))
    differences = [np.abs(ours.scores - theirs.scores).max() for ours, theirs in zip(found, expected, strict=False)]
    assert 0 < max(differences) < BFLOAT16_SCORES
    again = list(tagger.score(collection[:4], TagOptions()))
    assert max(np.abs(a.scores - b.scores).max() for a, b in zip(again, expected, strict=False)) < SCORES


def test_half_precision_on_a_cpu_that_is_slower_with_it_is_refused(tagger, collection, monkeypatch):
    pretend_to_have(monkeypatch, "avx2")
    with pytest.raises(DeviceError, match="leave --half away"):
        list(tagger.score(collection[:1], TagOptions(half=True)))
    assert_no_threads_are_left()


def test_an_older_pytorch_knows_of_no_half_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    with pytest.raises(DeviceError, match="leave --half away"):
        choose_half(torch.device("cpu"))
    assert choose_half(torch.device("cuda")) == torch.float16


def test_what_is_remembered_is_of_one_precision(tagger, tmp_path, monkeypatch):
    pretend_to_have(monkeypatch, "avx512_bf16")
    halved = TagOptions(half=True)
    with Store(tmp_path / "cache.sqlite") as store:
        numbers = [tagger.remember(store, options).settings_number for options in (TagOptions(), halved)]
        monkeypatch.setattr("tagcli.tagger.device.choose_half", lambda device: torch.float16)  # of a GPU
        numbers.append(tagger.remember(store, halved).settings_number)
    assert len(set(numbers)) == 3


def test_a_checkpoint_whose_tensors_are_damaged_fails_before_the_first_result(tiny_checkpoint, tmp_path, collection):
    data = bytearray(tiny_checkpoint.read_bytes())
    (tmp_path / "cut.safetensors").write_bytes(data[:-4])
    with pytest.raises(CheckpointError):
        list(open_tagger(tmp_path / "cut.safetensors", device="cpu").score(collection, TagOptions()))
    assert_no_threads_are_left()


def test_workers_tell_what_they_spent_their_time_with(module, collection):
    times = StageTimes()
    assert times.shares == {}
    list(run_on("whole", module, collection, TagOptions(n_workers=2), times=times))
    assert sum(times.shares.values()) == pytest.approx(1)
    assert list(times.shares.values()) == sorted(times.shares.values(), reverse=True)
    assert times.shares["decoding"] > 0
    assert times.shares["scoring"] > 0
    assert times.shares["looking up"] == 0


def test_two_runs_at_once_leave_torchs_threads_as_they_were(module, collection):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        runs = [tag_whole(module, collection[:4], TagOptions(n_workers=1)) for _ in range(2)]
        for _ in zip(*runs, strict=True):
            pass
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("clips", ["all", "2"])
def test_whoever_stops_does_not_wait_for_the_end_of_a_long_track(clips, module, music, encode, tmp_path):
    """An m4a file is decoded whole before the first of two clips is there."""
    long = encode(tmp_path / "long.m4a", np.tile(music(30, 8000, n_channels=1), 40), 8000)
    options = TagOptions(n_workers=2, clips=ClipChoice.parse(clips))
    started = time.monotonic()
    assert len(list(tag_whole(module, [long, long], options))) == 2
    whole_seconds = time.monotonic() - started

    def two_paths_and_an_error():
        yield from [long, long]
        time.sleep(whole_seconds / 10)
        msg = "the drive is gone"
        raise OSError(msg)

    started = time.monotonic()
    with pytest.raises(OSError, match="the drive is gone"):
        list(tag_whole(module, two_paths_and_an_error(), options))
    assert time.monotonic() - started < 0.7 * whole_seconds
    assert tagcli_threads() == []
