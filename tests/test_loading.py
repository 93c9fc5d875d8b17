"""Batches are loaded ahead, in their order, and the same whatever the number of threads."""

import itertools
import threading
import time

import numpy as np
import pytest

from tagcli.audio.clips import ClipRule
from tagcli.datasets.audio import DecodedAudio, read_clip
from tagcli.datasets.clip_cache import ClipCache
from tagcli.datasets.clip_filling import build_cache, plan_cache
from tagcli.datasets.clip_index import DATA_NAME
from tagcli.datasets.loading import Request, load_batches
from tagcli.errors import DatasetError
from tests.test_clip_cache import make_manifest

RATE = 8000
RULE = ClipRule(n_samples=4000, short="repeat")
SHORT_ROW, TEXT_ROW = 3, 4


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, encode, music):
    """Three examples, one that is shorter than a clip, and one that is no audio."""
    root = tmp_path_factory.mktemp("audio")
    for number, seconds in enumerate((1.0, 2.0, 0.75, 0.25)):
        encode(root / f"{number}.wav", music(seconds, RATE, seed=number), RATE)
    (root / "text.wav").write_text("no music")
    return make_manifest(root, "0.wav", "1.wav", "2.wav", "3.wav", "text.wav")


@pytest.fixture(params=["decoded", "cached"])
def audio(request, manifest, tmp_path):
    if request.param == "decoded":
        return DecodedAudio(manifest, sample_rate=RATE)
    list(build_cache(plan_cache(manifest, sample_rate=RATE, folder=tmp_path / "cache"), n_workers=1))
    return ClipCache(manifest, sample_rate=RATE, folder=tmp_path / "cache")


def make_batches(n_batches, seed=0):
    """Random clips of the examples, in batches of several sizes."""
    generator = np.random.default_rng(seed)
    return [
        [
            Request(row=int(generator.integers(5)), position=float(generator.uniform()))
            for _ in range(generator.integers(6))
        ]
        for _ in range(n_batches)
    ]


def loading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("load")]


@pytest.mark.parametrize("n_workers", [1, 2, 7])
def test_every_clip_is_in_its_place_whatever_the_number_of_threads(audio, n_workers):
    batches = make_batches(30)
    loaded = list(load_batches(audio, batches, rule=RULE, n_workers=n_workers))
    assert len(loaded) == len(batches)
    for batch, requests in zip(loaded, batches, strict=True):
        assert batch.waveforms.shape == (len(requests), RULE.n_samples)
        assert batch.waveforms.dtype == np.float32
        assert batch.rows.tolist() == [request.row for request in requests]
        assert batch.is_heard.tolist() == [request.row != TEXT_ROW for request in requests]
        for clip, request in zip(batch.waveforms, requests, strict=True):
            if request.row == TEXT_ROW:
                assert not clip.any()
            else:
                assert np.array_equal(clip, read_clip(audio, request.row, request.position, RULE))
    assert loading_threads() == []


def test_a_batch_is_its_own_and_may_be_changed(audio):
    requests = [Request(row=0, position=0.5)]
    first, second = load_batches(audio, [requests, requests], rule=RULE, n_workers=1)
    first.waveforms[:] = 0
    assert second.waveforms.any()
    assert audio.read(0).any()


@pytest.mark.parametrize("n_ahead", [0, 1, 3])
def test_no_more_batches_are_asked_for_than_are_loaded_ahead(audio, n_ahead):
    n_asked = 0

    def ask():
        nonlocal n_asked
        for requests in itertools.repeat([Request(row=1, position=0.0)]):
            n_asked += 1
            yield requests

    loaded = load_batches(audio, ask(), rule=RULE, n_workers=2, n_ahead=n_ahead)
    for n_given in range(1, 6):
        next(loaded)
        assert n_asked == n_given + n_ahead
    loaded.close()


def test_the_batches_ahead_are_loaded_while_one_is_in_use(audio):
    class Slow:
        manifest, sample_rate = audio.manifest, audio.sample_rate

        def n_samples(self, row):
            time.sleep(0.1)
            return audio.n_samples(row)

        read, read_part = audio.read, audio.read_part

    loaded = load_batches(Slow(), itertools.repeat([Request(row=0, position=0.0)]), rule=RULE, n_workers=2, n_ahead=2)
    assert next(loaded).waited_seconds > 0.09
    time.sleep(0.3)
    assert next(loaded).waited_seconds < 0.05
    assert next(loaded).waited_seconds < 0.05
    loaded.close()


def test_who_stops_early_ends_the_threads(audio):
    loaded = load_batches(audio, itertools.cycle(make_batches(10)), rule=RULE, n_workers=3, n_ahead=8)
    next(loaded)
    assert loading_threads()
    started = time.monotonic()
    loaded.close()
    assert time.monotonic() - started < 1
    assert loading_threads() == []


def test_what_is_no_failure_of_a_track_ends_the_loading(audio):
    batches = [[Request(row=0, position=0.0)], [Request(row=99, position=0.0)], [Request(row=0, position=0.0)]]
    loaded = load_batches(audio, batches, rule=RULE, n_workers=2)
    next(loaded)
    with pytest.raises(IndexError):
        next(loaded)
    assert loading_threads() == []


def test_a_damaged_cache_is_told_to_who_asks_for_batches(manifest, tmp_path):
    folder = tmp_path / "cache"
    list(build_cache(plan_cache(manifest, sample_rate=RATE, folder=folder), n_workers=1))
    samples = bytearray((folder / DATA_NAME).read_bytes())
    samples[-1] ^= 1
    (folder / DATA_NAME).write_bytes(samples)
    cache = ClipCache(manifest, sample_rate=RATE, folder=folder)
    requests = [Request(row=row, position=0.0) for row in range(4)]
    with pytest.raises(DatasetError, match=r"samples of 3\.wav"):
        list(load_batches(cache, [requests], rule=RULE, n_workers=2))


def test_no_batches_are_no_batches(audio):
    assert list(load_batches(audio, [], rule=RULE, n_workers=1)) == []
    (empty,) = load_batches(audio, [[]], rule=RULE, n_workers=1)
    assert empty.waveforms.shape == (0, RULE.n_samples)
    assert empty.is_heard.shape == (0,)
