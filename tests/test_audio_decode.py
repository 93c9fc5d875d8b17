"""Decoding: the right samples, the same whether sought or streamed, in memory that does not grow."""

import os
import struct
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import soxr

from tagcli.audio.av_source import AvSource
from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.decode import Track
from tagcli.audio.graph_source import GraphSource, open_graph
from tagcli.audio.mpeg_length import read_length
from tagcli.audio.reading import TrackClips
from tagcli.audio.sources import BLOCK_SAMPLES, SoundfileSource
from tagcli.errors import WarningCode
from tagcli.mpeg import parse_frame

SAME_SAMPLES = 1e-4
"""Two ways to the same waveform: decoders round differently by about 1e-6; a shift by one sample is above 1e-2 here."""
QUANTISED_16_BIT = 2.0**-15
QUANTISED_8_BIT = 2.0**-7
"""Half a step of the samples in the file, and half a step of the encoder's own rounding."""
DIFFERENT_MUSIC = 1e-2
"""What two pieces of the test music differ by somewhere; else a comparison would say nothing."""
CODEC_DELAY_SECONDS = 0.06
"""AAC, WMA and mp3 without a length header come with the codec's delay and padding."""
LAME_DELAY = 1105
"""Samples that a Xing header has a decoder leave out at the start: encoder 576, decoder 529."""
SECONDS = 4.3
RATES = (44_100, 48_000, 22_050)
MODEL_RATES = (12_000, 16_000)
PIECE_SECONDS = 0.7

SOUGHT = ("mp3", "vbr.mp3", "wav", "flac", "ogg", "aiff", "opus")
STREAMED = ("cbr-without-header.mp3", "vbr-without-header.mp3", "m4a", "mp4", "aac", "alac.m4a", "wma", "mka", "wv")
KINDS = SOUGHT + STREAMED
OPUS = ("opus", "mka")
"""Opus is always 48 kHz."""
KINDS_AND_RATES = [(kind, rate) for kind in KINDS for rate in RATES if kind not in OPUS or rate == 48_000]
LOSSLESS = dict.fromkeys(("wav", "flac", "aiff", "alac.m4a"), QUANTISED_16_BIT) | {"wv": QUANTISED_8_BIT}
"""Kinds that keep the samples, and how finely; the WavPack encoder takes 8 bits unless told otherwise."""


@pytest.fixture(scope="session")
def track_path(tmp_path_factory, music, encode):
    """A function that encodes the test music once for each kind and rate."""
    folder = tmp_path_factory.mktemp("kinds")

    def make(kind, rate):
        path = folder / f"{rate}.{kind}"
        return path if path.exists() else encode(path, music(SECONDS, rate), rate)

    return make


def decode(track):
    """The whole track [shape=(n_samples,)]."""
    return np.concatenate([block.copy() for block in track.blocks()])


def decode_planes(path):
    """What PyAV decodes of the first audio stream, up to the length that the container states: mono, and the rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [(frame.to_ndarray(), frame) for frame in container.decode(stream)]
        planes = []
        for samples, frame in frames:
            n_channels = frame.layout.nb_channels
            samples = samples if frame.format.is_planar else samples.reshape(-1, n_channels).T
            scale = float(np.iinfo(samples.dtype).max) + 1 if samples.dtype.kind == "i" else 1.0
            planes.append(samples / scale)
        mono = np.concatenate(planes, axis=1).mean(axis=0).astype(np.float32)
        if "mp4" in container.format.name:
            mono = mono[: round(stream.duration * stream.time_base * stream.rate)]
        return mono, stream.rate


def resample(waveform, rate, model_rate):
    return soxr.resample(waveform, rate, model_rate, quality="HQ")


def assert_same(found, expected):
    assert found.dtype == np.float32
    assert len(found) == len(expected)
    assert np.abs(found).max() > DIFFERENT_MUSIC
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAME_SAMPLES)


# The whole track


@pytest.mark.parametrize("model_rate", MODEL_RATES)
@pytest.mark.parametrize(("kind", "rate"), KINDS_AND_RATES)
def test_a_streamed_track_equals_the_reference_and_nothing_is_wrong_with_it(track_path, kind, rate, model_rate):
    path = track_path(kind, rate)
    track = Track(path, model_rate)
    promised = track.n_samples
    assert (promised is not None) == (kind in SOUGHT)
    waveform = decode(track)
    assert_same(waveform, resample(*decode_planes(path), model_rate))
    assert len(waveform) == track.n_samples
    assert promised in (None, len(waveform))
    assert track.warnings == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_track_holds_the_music_that_was_put_in(track_path, music, kind):
    rate = 48_000
    path = track_path(kind, rate)
    waveform = decode(Track(path, rate))
    original = music(SECONDS, rate).mean(axis=0)
    assert abs(len(waveform) - len(original)) <= CODEC_DELAY_SECONDS * rate
    if kind in LOSSLESS:
        np.testing.assert_allclose(waveform, original, rtol=0, atol=LOSSLESS[kind])


@pytest.mark.parametrize("kind", SOUGHT)
def test_both_decoders_give_the_same_samples(track_path, kind):
    path = track_path(kind, 48_000)
    with SoundfileSource(path) as ours, AvSource(path) as theirs:
        assert ours.sample_rate == theirs.sample_rate == 48_000
        expected = np.concatenate([block.copy() for block in theirs.blocks()])
        assert_same(np.concatenate([block.copy() for block in ours.blocks()]), expected)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["mp3", "vbr.mp3"])
def test_an_mp3_is_mixed_down_in_blocks_by_the_graph(track_path, kind, rate):
    path = track_path(kind, rate)
    with SoundfileSource(path) as source, AvSource(path) as theirs:
        expected = np.concatenate([block.copy() for block in theirs.blocks()])
        graph = open_graph(source)
    with graph:
        assert graph.sample_rate == rate
        blocks = [block.copy() for block in graph.blocks()]
    assert [len(block) for block in blocks[:-1]] == [BLOCK_SAMPLES] * (len(expected) // BLOCK_SAMPLES)
    assert_same(np.concatenate(blocks), expected)
    assert graph.warnings == set()


def test_a_mono_mp3_passes_the_graph_as_it_is(tmp_path, music, encode):
    path = encode(tmp_path / "mono.mp3", music(SECONDS, 44_100)[:1], 44_100)
    with SoundfileSource(path) as source:
        expected = np.concatenate([block.copy() for block in source.blocks()])
        graph = open_graph(source)
    with graph:
        assert_same(np.concatenate([block.copy() for block in graph.blocks()]), expected)


def test_the_tracks_that_the_graph_is_for_come_through_it(track_path):
    assert {kind for kind in KINDS if isinstance(Track(track_path(kind, 48_000), 12_000)._open(), GraphSource)} == {
        "mp3",
        "vbr.mp3",
    }


def test_a_length_that_the_decoders_do_not_agree_on_is_left_to_libsndfile(track_path, tmp_path):
    data = track_path("mp3", 44_100).read_bytes()
    path = tmp_path / "zeros before the first frame.mp3"
    tag_bytes = len(data) - len(data[data.index(b"\xff\xfb") :])
    path.write_bytes(data[:tag_bytes] + bytes(1500) + data[tag_bytes:])
    with SoundfileSource(path) as source:
        assert open_graph(source) is None


def test_a_name_that_a_filter_cannot_be_given_is_left_to_libsndfile(track_path, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.mp3")
    try:
        path.write_bytes(track_path("mp3", 44_100).read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    with SoundfileSource(path) as source:
        assert open_graph(source) is None
    assert isinstance(Track(path, 12_000)._open(), SoundfileSource)


def test_a_graph_gives_no_more_than_was_promised(track_path):
    path = track_path("mp3", 44_100)
    with GraphSource(path, sample_rate=44_100, n_channels=2, n_samples=100_000) as graph:
        assert sum(map(len, graph.blocks())) == 100_000


def test_av_leaves_out_what_has_been_heard_already(track_path):
    path = track_path("flac", 22_050)
    with AvSource(path) as whole, AvSource(path) as rest:
        expected = np.concatenate([block.copy() for block in whole.blocks()])
        found = np.concatenate([block.copy() for block in rest.blocks(skip=33_333)])
    np.testing.assert_array_equal(found, expected[33_333:])


@pytest.mark.parametrize("rate", RATES)
def test_a_track_at_the_models_own_rate_is_not_resampled(track_path, rate):
    path = track_path("wav", rate)
    expected = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    np.testing.assert_allclose(decode(Track(path, rate)), expected, rtol=0, atol=np.finfo(np.float32).eps)


# Pieces of it


@pytest.mark.parametrize("model_rate", MODEL_RATES)
@pytest.mark.parametrize(("kind", "rate"), [pair for pair in KINDS_AND_RATES if pair[0] in SOUGHT])
def test_a_sought_piece_equals_the_full_decode(track_path, kind, rate, model_rate):
    track = Track(track_path(kind, rate), model_rate)
    whole = decode(Track(track.path, model_rate))
    n_samples = round(PIECE_SECONDS * model_rate)
    last = len(whole) - n_samples
    random = np.random.default_rng(model_rate)
    for start in [0, 1, 2, last // 2, last - 1, last, *random.integers(0, last, 6)]:
        assert_same(track.read(int(start), n_samples), whole[start : start + n_samples])


def test_two_pieces_are_not_the_same(track_path):
    track = Track(track_path("flac", 44_100), 12_000)
    assert np.abs(track.read(0, 6000) - track.read(1, 6000)).max() > DIFFERENT_MUSIC


@pytest.mark.parametrize("rate", [11_025, 32_000, 96_000, 44_056, 192_000])
def test_odd_rates_are_sought_exactly_too(tmp_path, music, encode, rate):
    path = encode(tmp_path / "x.wav", music(3, rate, n_channels=1), rate)
    track = Track(path, 12_000)
    whole = decode(Track(path, 12_000))
    assert track.n_samples == len(whole)
    for start in (0, 7777, len(whole) - 5000):
        assert_same(track.read(start, 5000), whole[start : start + 5000])


@pytest.mark.parametrize("n_samples", [8000, 8001, 8002, 12_345, 44_099, 44_100, 44_101, 44_102, 100_001])
@pytest.mark.parametrize("model_rate", MODEL_RATES)
def test_the_promised_length_is_the_decoded_one(tmp_path, n_samples, model_rate):
    for rate in (8000, 44_100):
        path = tmp_path / f"{rate}.wav"
        soundfile.write(path, np.full(n_samples, 0.5), rate)
        track = Track(path, model_rate)
        assert track.n_samples == len(decode(track))


@pytest.mark.parametrize("kind", ["cbr-without-header.mp3", "vbr-without-header.mp3", "m4a", "wma"])
def test_the_middle_of_a_track_that_cannot_be_sought_is_exact(track_path, kind):
    path = track_path(kind, 44_100)
    assert Track(path, 12_000).n_samples is None
    whole = decode(Track(path, 12_000))
    rule = ClipRule(n_samples=12_001, short="zeros")
    clips = TrackClips(path, sample_rate=12_000, rule=rule, choice=ClipChoice.parse("middle"))
    (clip,) = clips
    assert clip.start == (len(whole) - rule.n_samples) // 2
    assert clips.n_samples == len(whole)
    assert_same(clip.waveform, whole[clip.start : clip.start + rule.n_samples])


# Channels and sample formats


def write_constants(path, values, *, subtype, rate=16_000, seconds=1.5):
    """Each channel holds a constant."""
    soundfile.write(path, np.tile(np.asarray(values, dtype=np.float64), (round(seconds * rate), 1)), rate, subtype)
    return path


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("source", [SoundfileSource, AvSource])
@pytest.mark.parametrize("values", [(0.25,), (0.5, -0.25), (0.5, 0.25, -0.125, 0.75, 0.0, -0.5)], ids=["1", "2", "6"])
def test_mono_is_the_mean_of_the_channels(tmp_path, source, subtype, values):
    path = write_constants(tmp_path / "x.wav", values, subtype=subtype)
    with source(path) as opened:
        waveform = np.concatenate([block.copy() for block in opened.blocks()])
    assert len(waveform) == 24_000
    assert np.unique(waveform).tolist() == [np.float32(np.mean(values))]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("source", [SoundfileSource, AvSource])
def test_flac_of_any_depth_has_the_same_scale(tmp_path, source, subtype):
    path = write_constants(tmp_path / "x.flac", (0.5, 0.25), subtype=subtype)
    with source(path) as opened:
        assert set(np.concatenate([block.copy() for block in opened.blocks()]).tolist()) == {0.375}


def encode_eight_channels(path, codec, values):
    """Encode constants, by channel, at 48 kHz and 7.1."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="7.1")
        resampler = av.AudioResampler(format=stream.format.name, layout="7.1", rate=48_000)
        samples = np.tile(np.asarray(values, dtype=np.float32), (1, 96_000))
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="7.1")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), 0
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("suffix", "codec"), [("wv", "wavpack"), ("flac", "flac"), ("m4a", "aac"), ("opus", "libopus")]
)
def test_eight_channels_are_read(tmp_path, suffix, codec):
    # PyAV 18 reports a ninth plane at a wild address: its own to_ndarray ends the process
    values = (0.5, 0.25, 0.125, 0.75, 0.0, 0.5, 0.25, 0.125)
    path = encode_eight_channels(tmp_path / f"x.{suffix}", codec, values)
    track = Track(path, 48_000)
    waveform = decode(track)
    assert len(waveform) == pytest.approx(96_000, abs=CODEC_DELAY_SECONDS * 48_000)
    assert track.warnings == set()
    if codec in ("wavpack", "flac"):
        np.testing.assert_allclose(waveform, np.mean(values), rtol=0, atol=QUANTISED_16_BIT)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("source", [SoundfileSource, AvSource])
@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_what_is_not_a_number_becomes_silence_and_is_told(tmp_path, music, source, subtype, n_channels):
    planes = music(2, 16_000, n_channels=n_channels).T.astype(np.float64)
    planes[5000] = np.nan
    planes[6000] = np.inf
    planes[7000] = [np.inf, -np.inf, 0, 0, 0, 0][:n_channels]
    planes[7500] = 1e30  # its square is beyond float32
    planes[8000] = 3e38 if n_channels > 1 else np.inf  # their sum is beyond float32
    soundfile.write(tmp_path / "x.wav", planes, 16_000, subtype)
    with source(tmp_path / "x.wav") as opened:
        waveform = np.concatenate([block.copy() for block in opened.blocks()])
        assert opened.warnings == {WarningCode.DAMAGED}
    assert np.isfinite(waveform).all()
    assert waveform[[5000, 6000, 7000, 7500, 8000]].tolist() == [0.0] * 5
    np.testing.assert_allclose(waveform[:5000], planes[:5000].mean(axis=1), rtol=0, atol=SAME_SAMPLES)


def test_what_is_not_a_number_is_told_of_a_sought_piece_too(tmp_path):
    waveform = np.full(48_000, 0.1)
    waveform[24_000] = np.nan
    soundfile.write(tmp_path / "x.wav", waveform, 8000, "FLOAT")
    rule = ClipRule(n_samples=8000, short="zeros")
    clips = TrackClips(tmp_path / "x.wav", sample_rate=8000, rule=rule, choice=ClipChoice.parse("middle"))
    (clip,) = clips
    assert np.isfinite(clip.waveform).all()
    assert clips.warnings == {WarningCode.DAMAGED}


# mp3: tags in front, junk, length headers


def make_id3(n_bytes):
    """An ID3v2.3 tag with a picture, `n_bytes` long, full of bytes that look like frame headers."""
    picture = b"\x00image/jpeg\x00\x03\x00" + b"\xff\xfb\x90\x64" * ((n_bytes - 34) // 4)
    body = b"APIC" + struct.pack(">IH", len(picture), 0) + picture
    size = len(body)
    syncsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + syncsafe + body


ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
APE_ITEM = struct.pack("<II", 4, 0) + b"Artist\0name"
APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, len(APE_ITEM) + 32, 1, 0)
APE_TAG = APE_ITEM + APE


@pytest.mark.parametrize("kind", ["mp3", "vbr.mp3", "cbr-without-header.mp3", "vbr-without-header.mp3"])
def test_tags_around_the_frames_change_no_sample(track_path, tmp_path, kind):
    plain = track_path(kind, 44_100)
    tagged = tmp_path / "x.mp3"
    frames = plain.read_bytes()
    tagged.write_bytes(make_id3(300_000) + frames + APE_TAG + ID3V1)
    track, expected = Track(tagged, 12_000), Track(plain, 12_000)
    assert track.n_samples == expected.n_samples
    assert_same(decode(track), decode(expected))
    assert track.warnings == set()


@pytest.mark.parametrize("kind", ["mp3", "vbr.mp3"])
@pytest.mark.parametrize("junk", [bytes(1000), b"\xff\xfb" * 600, b"junk " * 900], ids=["zeros", "sync", "text"])
def test_junk_between_tag_and_first_frame_is_passed_over(track_path, tmp_path, kind, junk):
    plain = track_path(kind, 44_100)
    path = tmp_path / "x.mp3"
    frames = plain.read_bytes()
    frames = frames[find_frames(frames) :]
    path.write_bytes(make_id3(5000) + junk + frames)
    track = Track(path, 12_000)
    assert_same(decode(track), decode(Track(plain, 12_000)))
    assert track.warnings == set()


def find_frames(data):
    """Where the first frame of an mp3 file begins, behind its tag."""
    if not data.startswith(b"ID3"):
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))


def make_vbri(data):
    """Replace the Xing header of an mp3 file by a VBRI header that says the same."""
    start = find_frames(data)
    size = parse_frame(data[start : start + 4]).size
    n_frames, n_bytes = struct.unpack(">II", data[start + 36 + 8 : start + 36 + 16])
    vbri = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 1105, 75, n_bytes, n_frames, 0, 1, 2, n_frames)
    frame = bytearray(data[start : start + size])
    frame[4:] = bytes(len(frame) - 4)
    frame[36 : 36 + len(vbri)] = vbri
    return bytes(frame) + data[start + size :]


def test_a_vbri_header_is_left_to_the_decoder_that_knows_it(track_path, tmp_path):
    # libsndfile takes such a stream for one of constant bit rate: this VBR one would lose its end, or gain one
    plain = track_path("vbr.mp3", 44_100)
    path = tmp_path / "x.mp3"
    path.write_bytes(make_vbri(plain.read_bytes()))
    track = Track(path, 44_100)
    assert track.n_samples is None
    expected = decode(Track(plain, 44_100))
    assert_same(decode(track)[LAME_DELAY : LAME_DELAY + len(expected)], expected)
    assert track.warnings == set()


@pytest.mark.parametrize(
    ("kind", "has_length"),
    [("mp3", True), ("vbr.mp3", True), ("cbr-without-header.mp3", False), ("vbr-without-header.mp3", False)],
)
def test_a_length_header_is_seen_where_there_is_one(track_path, kind, has_length):
    for rate in RATES:
        length = read_length(track_path(kind, rate))
        assert (length.has_length, length.is_cut) == (has_length, False)


def test_a_mono_mp3_has_its_length_header_elsewhere(tmp_path, music, encode):
    for rate in (44_100, 22_050):
        path = encode(tmp_path / f"{rate}.mp3", music(2, rate, n_channels=1), rate)
        assert read_length(path).has_length
        assert Track(path, 12_000).n_samples == pytest.approx(24_000, abs=1)


# Memory

PEAK_PROGRAM = """
import resource, sys
from pathlib import Path
from tagcli.audio.decode import Track
from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.reading import TrackClips
path = Path(sys.argv[1])
n_samples = sum(len(block) for block in Track(path, 12_000).blocks())
rule = ClipRule(n_samples=348_000, short="zeros")
for choice in ("all", "3"):
    for clip in TrackClips(path, sample_rate=12_000, rule=rule, choice=ClipChoice.parse(choice)):
        pass
print(n_samples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
GROWTH_KB = 20_000
"""Allowed between 2 and 30 minutes: a few buffers. Keeping 28 minutes at 12 kHz would take 80,000."""


@pytest.mark.parametrize("kind", ["flac", "wv"])
def test_memory_does_not_grow_with_the_track(tmp_path, music, encode, kind):
    piece = music(60, 8000, n_channels=1)

    def measure(minutes):
        path = encode(tmp_path / f"{minutes}.{kind}", np.tile(piece, minutes), 8000)
        run = [sys.executable, "-c", PEAK_PROGRAM, str(path)]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        n_samples, peak = map(int, done.stdout.split())
        assert n_samples == minutes * 60 * 12_000
        return peak

    assert measure(30) - measure(2) < GROWTH_KB
