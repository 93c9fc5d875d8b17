"""What is wrong with a file is told by a code, never by a crash; what can be heard of it is heard."""

import os
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagcli.audio import completeness
from tagcli.audio.av_source import AvSource
from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.decode import Track
from tagcli.audio.graph_source import GraphSource
from tagcli.audio.reading import TrackClips
from tagcli.audio.sources import BLOCK_SAMPLES, SoundfileSource
from tagcli.errors import AudioError, FailureCode, WarningCode
from tagcli.mpeg import parse_frame

RATE = 8000
SECONDS = 6.0
TONE_HZ = 440.0
TONE_LEVEL = 0.1
"""Amplitude of the sine of 440 Hz times its window's mean, at least this where the tone is heard."""
HOLE_SECONDS = {"mka": 2.2}
MOST_HOLE_SECONDS = 1.2
"""What a hole of a tenth of 6 s costs at most, Ogg pages included; in Matroska it costs the rest of its cluster."""
PATIENCE_SECONDS = 20.0
NOBODY = 65534
"""The user id without rights on every Unix."""

MPEG = ("mp3", "vbr.mp3", "cbr-without-header.mp3", "vbr-without-header.mp3")
OTHERS = ("flac", "ogg", "oga", "opus", "m4a", "mp4", "aac", "alac.m4a", "wma", "mka", "wv", "wav", "aiff", "aif")
KINDS = MPEG + OTHERS
WITHOUT_CHECKSUM = ("wav", "aiff", "aif")
"""Kinds in which any bytes are samples."""
INDEX_LAST = ("mp4", "alac.m4a")
"""Kinds whose index is at the end: without it nothing can be found."""


def listen(path):
    """Decode a track: its waveform at 8 kHz and its warnings."""
    track = Track(path, RATE)
    waveform = np.concatenate([block.copy() for block in track.blocks()])
    assert track.n_samples == len(waveform)
    assert np.isfinite(waveform).all()
    return waveform, track.warnings


def fail(path):
    """The code with which a track fails; the sentence names it."""
    _, error = read_clips(path, "all")
    assert error is not None
    assert error.path == path
    assert str(path) in error.message
    assert "\n" not in error.message.replace(str(path), "")
    return error.code


def read_clips(path, clips):
    """The clips of a track, or the error that it ends in."""
    rule = ClipRule(n_samples=RATE, short="zeros")
    reader = TrackClips(path, sample_rate=RATE, rule=rule, choice=ClipChoice.parse(clips))
    try:
        return list(reader), None
    except AudioError as error:
        return [], error


def hears_tone(waveform):
    """Whether the tone of 440 Hz is in it."""
    time = np.arange(len(waveform)) / RATE
    return abs(np.mean(waveform * np.exp(-2j * np.pi * TONE_HZ * time))) > TONE_LEVEL


@pytest.fixture(scope="session")
def healthy(tmp_path_factory, music, encode):
    """6 s by kind: music, and in the last second a loud tone."""
    folder = tmp_path_factory.mktemp("healthy")
    planes = music(SECONDS, 48_000)
    time = np.arange(48_000) / 48_000
    planes[:, -48_000:] = 0.5 * np.sin(2 * np.pi * TONE_HZ * time)
    return {kind: encode(folder / f"x.{kind}", planes, 48_000) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_healthy_files_have_no_warnings(healthy, kind):
    waveform, warnings = listen(healthy[kind])
    assert warnings == set()
    assert len(waveform) == pytest.approx(SECONDS * RATE, abs=0.1 * RATE)
    assert hears_tone(waveform[-RATE:])


# No audio at all


def write_picture(path, codec, pixel_format, *, n_frames=1):
    """A picture, or a film without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = pixel_format
        for shade in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["x.mp3", "x.flac", "x.m4a", "x", "x.wav"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert fail(tmp_path / name) is FailureCode.EMPTY


@pytest.mark.parametrize("name", ["x.mp3", "x.ogg", "x.m4a", "x.wav", "x.wma", "x"])
def test_a_text_with_an_audio_name(tmp_path, name):
    (tmp_path / name).write_text("# Readme\n\nThis is not audio.\n" * 300)
    assert fail(tmp_path / name) is FailureCode.NOT_AUDIO


def test_a_picture_with_an_audio_name(tmp_path):
    write_picture(tmp_path / "x.jpg", "mjpeg", "yuvj420p").rename(tmp_path / "x.mp3")
    write_picture(tmp_path / "x.png", "png", "rgb24").rename(tmp_path / "y.mp3")
    assert fail(tmp_path / "x.mp3") is FailureCode.NO_AUDIO_STREAM
    assert fail(tmp_path / "y.mp3") is FailureCode.NO_AUDIO_STREAM


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_film_without_sound(tmp_path, suffix):
    path = write_picture(tmp_path / f"x.{suffix}", "mpeg4", "yuv420p", n_frames=10)
    assert fail(path) is FailureCode.NO_AUDIO_STREAM


@pytest.mark.parametrize("n_bytes", [0, 100, 200_000])
def test_tags_without_audio(tmp_path, n_bytes):
    size = bytes(n_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    (tmp_path / "x.mp3").write_bytes(b"ID3\x04\x00\x00" + size + bytes(n_bytes))
    assert fail(tmp_path / "x.mp3") is FailureCode.NO_AUDIO_STREAM


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 30_000, 300_000])
@pytest.mark.parametrize("name", ["x.mp3", "x.flac", "x.m4a", "x.wav"])
def test_noise_is_never_taken_for_music(tmp_path, name, size):
    for seed in range(5):
        (tmp_path / name).write_bytes(np.random.default_rng(seed).bytes(size))
        assert fail(tmp_path / name) in (FailureCode.NOT_AUDIO, FailureCode.ZERO_RATE, FailureCode.UNREADABLE)


@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x41])
@pytest.mark.parametrize("name", ["x.mp3", "x.ogg", "x.aac"])
def test_one_byte_over_and_over(tmp_path, name, byte):
    (tmp_path / name).write_bytes(bytes([byte]) * 50_000)
    assert fail(tmp_path / name) in (FailureCode.NOT_AUDIO, FailureCode.ZERO_RATE, FailureCode.UNREADABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_the_first_bytes(healthy, tmp_path, kind):
    data = healthy[kind].read_bytes()
    for size in (4, 12, 44, 200):
        path = tmp_path / f"{size}.{kind}"
        path.write_bytes(data[:size])
        fail(path)


@pytest.mark.parametrize("rate", [1, 100, 4_000_000_000])
def test_a_rate_that_no_music_has(tmp_path, rate):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(48_000), 8000)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(data)
    assert fail(path) in (FailureCode.ZERO_RATE, FailureCode.UNREADABLE)


def test_a_codec_that_nobody_knows(healthy, tmp_path):
    data = bytearray(healthy["wav"].read_bytes())
    data[34:36] = bytes(2)  # samples of no bits
    (tmp_path / "x.wav").write_bytes(data)
    data = healthy["m4a"].read_bytes()
    (tmp_path / "x.m4a").write_bytes(data.replace(b"mp4a", b"xxxx").replace(b"esds", b"xxxx"))
    assert fail(tmp_path / "x.wav") is FailureCode.UNREADABLE
    assert fail(tmp_path / "x.m4a") is FailureCode.UNREADABLE


@pytest.mark.parametrize(("kind", "size_at", "size"), [("wma", 16, b"\xff" * 8), ("mka", 4, b"\x01" + b"\xf0" * 7)])
def test_a_header_that_claims_to_be_endless(healthy, tmp_path, kind, size_at, size):
    data = bytearray(healthy[kind].read_bytes())
    data[size_at : size_at + len(size)] = size
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    _, error = read_clips(path, "all")
    assert error is None or error.code is FailureCode.UNREADABLE


# Paths that are no files


def test_what_is_not_there(tmp_path):
    (tmp_path / "dangling.mp3").symlink_to("gone.mp3")
    assert fail(tmp_path / "dangling.mp3") is FailureCode.MISSING
    assert fail(tmp_path / "gone.mp3") is FailureCode.MISSING
    assert fail(tmp_path / "no" / "such" / "folder.mp3") is FailureCode.MISSING


def test_a_track_deleted_after_it_was_opened(healthy, tmp_path):
    for kind in ("mp3", "m4a", "flac"):
        path = tmp_path / f"x.{kind}"
        path.write_bytes(healthy[kind].read_bytes())
        track = Track(path, RATE)
        path.unlink()
        with pytest.raises(AudioError) as raised:
            list(track.blocks())
        assert raised.value.code is FailureCode.MISSING


def test_a_track_deleted_while_its_error_is_worded(tmp_path, monkeypatch):
    path = tmp_path / "x.mp3"
    path.write_text("no audio\n" * 300)
    track = Track(path, RATE)
    real_open = av.open

    def open_then_delete(*arguments, **options):
        try:
            return real_open(*arguments, **options)
        finally:
            path.unlink()

    monkeypatch.setattr(av, "open", open_then_delete)
    with pytest.raises(AudioError) as raised:
        list(track.blocks())
    assert raised.value.code is FailureCode.MISSING


def test_paths_that_no_file_can_have(tmp_path):
    (tmp_path / "self.mp3").symlink_to("self.mp3")
    assert fail(tmp_path / "self.mp3") is FailureCode.UNREADABLE
    assert fail(tmp_path / ("x" * 300)) is FailureCode.UNREADABLE
    (tmp_path / "file").touch()
    assert fail(tmp_path / "file" / "x.mp3") in (FailureCode.UNREADABLE, FailureCode.MISSING)


def test_a_folder_and_a_device(tmp_path):
    assert fail(tmp_path) is FailureCode.UNREADABLE
    assert fail(Path("/dev/null")) is FailureCode.UNREADABLE


def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "x.mp3"
    os.mkfifo(path)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(fail(path)), daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert codes == [FailureCode.UNREADABLE]


@pytest.fixture
def open_folder():
    """A folder that every user may enter; pytest's own are for one user only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in folder.iterdir():
            path.chmod(0o700)


def test_a_file_that_may_not_be_read(healthy, open_folder):
    program = f"""
import os, sys
from pathlib import Path
from tagcli.audio.decode import Track
from tagcli.errors import AudioError
if os.getuid() == 0:
    os.setgid({NOBODY})
    os.setuid({NOBODY})
for name in ("barred.mp3", "barred/x.mp3", "barred"):
    try:
        Track(Path(name), 8000)
    except AudioError as error:
        print(error.code.value, error.message)
"""
    (open_folder / "barred.mp3").write_bytes(healthy["mp3"].read_bytes())
    (open_folder / "barred.mp3").chmod(0)
    (open_folder / "barred").mkdir(mode=0)
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=open_folder, capture_output=True, text=True, check=False)
    if "No module named" in done.stderr or "Errno 13" in done.stderr:
        pytest.skip("the unprivileged user cannot read the program itself")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["unreadable"] * 3, done.stderr
    assert all("permission" in line.lower() for line in lines)


# Cut off


@pytest.mark.parametrize("share", [0.9, 0.5, 0.3])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in INDEX_LAST])
def test_a_file_that_was_cut_off_is_heard_as_far_as_it_goes(healthy, tmp_path, kind, share):
    data = healthy[kind].read_bytes()
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data[: int(share * len(data))])
    waveform, warnings = listen(path)
    assert warnings == {WarningCode.TRUNCATED}
    assert share * SECONDS - 1.1 < len(waveform) / RATE < share * SECONDS + 0.5  # Ogg pages last up to a second
    whole, _ = listen(healthy[kind])
    n_same = len(waveform) // 2
    np.testing.assert_allclose(waveform[:n_same], whole[:n_same], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_ogg_cut_between_pages_or_within_the_last_one(healthy, tmp_path, kind):
    data = healthy[kind].read_bytes()
    path = tmp_path / f"x.{kind}"
    for end in (data.rindex(b"OggS"), len(data) - 10, data.rindex(b"OggS") + 20):
        path.write_bytes(data[:end])
        assert listen(path)[1] == {WarningCode.TRUNCATED}


@pytest.mark.parametrize("kind", INDEX_LAST)
def test_a_file_that_lost_its_index_cannot_be_read(healthy, tmp_path, kind):
    data = healthy[kind].read_bytes()
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data[: len(data) * 9 // 10])
    assert fail(path) is FailureCode.UNREADABLE


@pytest.mark.parametrize("kind", ["wav", "aiff"])
def test_sizes_that_a_stream_could_not_know_are_no_cut(healthy, tmp_path, kind):
    data = bytearray(healthy[kind].read_bytes())
    position = data.index(b"data" if kind == "wav" else b"SSND") + 4
    path = tmp_path / f"x.{kind}"
    for size in (b"\xff\xff\xff\xff", bytes(4)):
        data[4:8] = data[position : position + 4] = size
        path.write_bytes(data)
        if size != bytes(4):
            waveform, warnings = listen(path)
            assert warnings == set()
            assert hears_tone(waveform[-RATE:])


def test_a_form_size_that_was_miscounted_is_no_cut(healthy, tmp_path):
    data = bytearray(healthy["wav"].read_bytes())
    data[4:8] = struct.pack("<I", len(data) + 1)
    (tmp_path / "x.wav").write_bytes(data)
    assert listen(tmp_path / "x.wav")[1] == set()


def test_chunks_before_and_behind_the_samples_are_no_cut(healthy, tmp_path):
    data = healthy["wav"].read_bytes()
    position = data.index(b"data")
    extra = b"LIST" + struct.pack("<I", 7) + b"INFOabc\0"
    chunks = data[:position] + extra + data[position:] + extra
    (tmp_path / "x.wav").write_bytes(chunks[:4] + struct.pack("<I", len(chunks) - 8) + chunks[8:])
    waveform, warnings = listen(tmp_path / "x.wav")
    assert warnings == set()
    assert hears_tone(waveform[-RATE:])
    (tmp_path / "x.wav").write_bytes(chunks[:-20_000])
    assert listen(tmp_path / "x.wav")[1] == {WarningCode.TRUNCATED}


# Damaged


@pytest.mark.parametrize("filling", ["noise", "zeros"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITHOUT_CHECKSUM])
def test_behind_a_hole_the_music_goes_on(healthy, tmp_path, kind, filling):
    data = healthy[kind].read_bytes()
    size = 3000 if kind == "wv" else len(data) // 10  # FFmpeg's WavPack demuxer gives up behind a whole lost block
    start = len(data) // 2
    hole = bytes(size) if filling == "zeros" else np.random.default_rng(3).bytes(size)
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data[:start] + hole + data[start + size :])
    waveform, warnings = listen(path)
    assert warnings == {WarningCode.DAMAGED}
    assert len(waveform) / RATE > SECONDS - HOLE_SECONDS.get(kind, MOST_HOLE_SECONDS)
    assert hears_tone(waveform[-RATE:])


@pytest.mark.parametrize("damage", ["noise", "zeros", "missing", "mono inside", "22 kHz inside"])
@pytest.mark.parametrize("kind", ["mp3", "vbr.mp3"])
def test_where_the_graph_stops_the_other_decoder_goes_on_at_the_sample(healthy, tmp_path, music, encode, kind, damage):
    data = healthy[kind].read_bytes()
    middle, size = len(data) // 2, len(data) // 10
    inside = {
        "noise": np.random.default_rng(3).bytes(size),
        "zeros": bytes(size),
        "missing": b"",
        "mono inside": encode(tmp_path / "mono.mp3", music(1.0, 44_100)[:1], 44_100).read_bytes(),
        "22 kHz inside": encode(tmp_path / "low.mp3", music(1.0, 22_050), 22_050).read_bytes(),
    }[damage]
    path = tmp_path / "x.mp3"
    path.write_bytes(data[:middle] + inside + data[middle + size :])
    with AvSource(path) as whole:
        expected = np.concatenate([block.copy() for block in whole.blocks()])
    with SoundfileSource(path) as source:
        n_promised = source.n_samples
    with GraphSource(path, sample_rate=44_100, n_channels=2, n_samples=n_promised) as graph:
        found = [block.copy() for block in graph.blocks()]
    assert len(found[0]) == BLOCK_SAMPLES, "the graph gave nothing"
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert graph.warnings == whole.warnings


@pytest.mark.parametrize("n_frames_too_many", [0, 1])
@pytest.mark.parametrize(
    "behind", [b"", bytes(3000), b"junk" * 500, b"LYRICSBEGININD0000200" + b"000020LYRICS200", b"TAG" + bytes(125)]
)
def test_what_lies_behind_the_last_frame_is_no_music(healthy, tmp_path, monkeypatch, behind, n_frames_too_many):
    data = healthy["mp3"].read_bytes()
    with SoundfileSource(healthy["mp3"]) as source:
        n_promised = source.n_samples
    frame_size = parse_frame(data[(start := data.rindex(b"\xff\xfb")) : start + 4]).size
    path = tmp_path / "x.mp3"
    path.write_bytes(data + data[start : start + frame_size] * n_frames_too_many + behind)
    monkeypatch.setattr(AvSource, "blocks", None)  # would decode it all again
    with GraphSource(path, sample_rate=44_100, n_channels=2, n_samples=n_promised) as graph:
        assert sum(map(len, graph.blocks())) == n_promised
    assert graph.warnings == set()


@pytest.mark.parametrize("kind", ["mp3", "vbr.mp3", "cbr-without-header.mp3", "flac", "aac"])
def test_a_piece_that_is_missing_is_told(healthy, tmp_path, kind):
    data = healthy[kind].read_bytes()
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data[: len(data) // 2] + data[len(data) * 6 // 10 :])
    waveform, warnings = listen(path)
    assert WarningCode.DAMAGED in warnings
    assert hears_tone(waveform[-RATE:])


def test_two_channels_that_damage_turns_into_eighteen_are_left_out(tmp_path, music, encode):
    # in PyAV 18, such a frame's own to_ndarray ends the process
    data = encode(tmp_path / "x.m4a", music(8.3, 44_100), 44_100).read_bytes()
    for seed in range(6):
        size = len(data) // (10 + seed)
        path = tmp_path / "y.m4a"
        path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + size :])
        _, error = read_clips(path, "all")
        assert error is None or error.code is FailureCode.UNREADABLE


# Sound, but unusual


def test_low_and_high_rates_mono_and_six_channels(tmp_path, music, encode):
    for name, rate, n_channels in (
        ("a.mp3", 8000, 1),
        ("b.flac", 96_000, 6),
        ("c.wav", 192_000, 2),
        ("d.mp3", 11_025, 2),
    ):
        path = encode(tmp_path / name, music(3, rate, n_channels=n_channels), rate)
        waveform, warnings = listen(path)
        assert warnings == set()
        assert len(waveform) == pytest.approx(3 * RATE, abs=0.1 * RATE)


def test_a_second_is_enough_and_half_a_second_is_not(tmp_path, music, encode):
    for kind in ("wav", "flac", "mp3", "ogg"):
        rule = ClipRule(n_samples=2 * RATE, short="repeat")
        enough = encode(tmp_path / f"enough.{kind}", music(1.0, 44_100), 44_100)
        clips = TrackClips(enough, sample_rate=RATE, rule=rule, choice=ClipChoice())
        assert len(list(clips)) == 1
        assert clips.warnings == {WarningCode.PADDED}
        assert fail(encode(tmp_path / f"half.{kind}", music(0.5, 44_100), 44_100)) is FailureCode.TOO_SHORT


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "ogg", "flac"])
@pytest.mark.parametrize(
    "stem",
    [b"new\nline", b"-dash", b"-", b"\xff\xfe", "🎵".encode(), b"file:x", b"http:x", b"%03d", b"a,b|c", b"n" * 240],
    ids=range(10),
)
def test_any_name_can_be_opened(healthy, tmp_path, monkeypatch, suffix, stem):
    name = Path(os.fsdecode(stem + b"." + suffix.encode()))
    (tmp_path / name).write_bytes(healthy[suffix].read_bytes())
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        waveform, warnings = listen(path)
        assert warnings == set()
        assert hears_tone(waveform[-RATE:])


def test_the_name_tells_nothing_about_the_contents(healthy, tmp_path):
    for kind, name in (
        ("flac", "x.mp3"),
        ("mp3", "x.flac"),
        ("m4a", "x.ogg"),
        ("ogg", "x"),
        ("wav", "-"),
        ("opus", "x.jpg"),
    ):
        (tmp_path / name).write_bytes(healthy[kind].read_bytes())
        waveform, warnings = listen(tmp_path / name)
        assert warnings == set()
        assert hears_tone(waveform[-RATE:])


def test_a_path_longer_than_a_decoder_allows(healthy, tmp_path):
    folder = tmp_path.joinpath(*["d" * 200] * 8)  # libsndfile stops at 1024 bytes
    folder.mkdir(parents=True)
    for kind in ("mp3", "wav", "flac"):
        (folder / f"x.{kind}").write_bytes(healthy[kind].read_bytes())
        waveform, warnings = listen(folder / f"x.{kind}")
        assert warnings == set()
        assert hears_tone(waveform[-RATE:])


# Any damage


@pytest.fixture(scope="session")
def small(tmp_path_factory, music, encode):
    """1.5 s, by kind."""
    folder = tmp_path_factory.mktemp("small")
    planes = music(1.5, 22_050)
    kinds = ("mp3", "vbr-without-header.mp3", "flac", "ogg", "m4a", "wav", "aiff", "wma", "wv")
    return {kind: encode(folder / f"x.{kind}", planes, 22_050) for kind in kinds}


PLACES = st.integers(0, 100) | st.integers(0, 2**20)
"""Offsets in a file, counted round its end; damage to the header is the most telling."""


@pytest.mark.parametrize("kind", ["mp3", "vbr-without-header.mp3", "flac", "ogg", "m4a", "wav", "aiff", "wma", "wv"])
@given(
    flips=st.lists(st.tuples(PLACES, st.integers(0, 255)), max_size=40),
    edges=st.tuples(PLACES, PLACES),
    way=st.sampled_from(["flip only", "cut", "hole", "zeros"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_ends_in_anything_but_a_decode_or_a_code(small, tmp_path, kind, flips, edges, way):
    damaged = bytearray(small[kind].read_bytes())
    start, end = sorted(edge % len(damaged) for edge in edges)
    for position, byte in flips:
        damaged[position % len(damaged)] = byte
    match way:
        case "cut":
            del damaged[end:]
        case "hole":
            del damaged[start:end]
        case "zeros":
            damaged[start:end] = bytes(end - start)
    path = tmp_path / f"x.{kind}"
    path.write_bytes(damaged)
    for choice in ("all", "middle"):
        clips, error = read_clips(path, choice)
        assert all(np.isfinite(clip.waveform).all() for clip in clips)
        assert error is None or str(path) in error.message


# What the decoders print


QUIET_PROGRAM = """
import os, sys
from pathlib import Path
from tagcli.audio.decode import Track
from tagcli.audio.quiet import quiet_decoders
from tagcli.audio.sources import SoundfileSource
before = os.fstat(2)
print("before", file=sys.stderr)
with quiet_decoders():
    for _ in Track(Path(sys.argv[1]), 8000).blocks(): pass
    with SoundfileSource(Path(sys.argv[1])) as source:
        for _ in source.blocks_from(0): pass
    os.write(2, b"a C library\\n")
    print("inside", file=sys.stderr)
print("behind", file=sys.stderr)
after = os.fstat(2)
assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)
assert sys.stderr is sys.__stderr__
os.write(2, b"the descriptor\\n")
if len(sys.argv) > 2:
    with SoundfileSource(Path(sys.argv[1])) as source:
        for _ in source.blocks_from(0): pass
"""


def test_the_decoders_are_silenced_and_python_is_not(healthy, tmp_path):
    data = healthy["mp3"].read_bytes()
    path = tmp_path / "x.mp3"
    path.write_bytes(data[:20_000] + np.random.default_rng(0).bytes(4000) + data[24_000:])
    run = [sys.executable, "-c", QUIET_PROGRAM, str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["before", "inside", "behind", "the descriptor"]
    loud = subprocess.run([*run, "loud"], capture_output=True, text=True, check=True)
    assert len(loud.stderr) > len(done.stderr), "mpg123 prints no more: quiet_decoders can go"


def test_an_error_inside_gives_the_stream_back(healthy):
    program = """
import os, sys
from tagcli.audio.quiet import quiet_decoders
try:
    with quiet_decoders():
        raise RuntimeError
except RuntimeError:
    os.write(2, b"back\\n")
    print("again", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "back\nagain\n"


# Sound audio with something odd beside it


def test_text_that_is_not_utf8_does_not_make_a_file_unreadable(tmp_path, music, encode):
    plain = encode(tmp_path / "x.cbr-without-header.mp3", music(3, 44_100), 44_100).read_bytes()
    latin_1 = b"TAG" + "Café".encode("latin-1").ljust(124, b"\0") + b"\xff"
    (tmp_path / "y.mp3").write_bytes(plain + latin_1)
    assert count(tmp_path / "y.mp3") == count(tmp_path / "x.cbr-without-header.mp3")
    m4a = encode(tmp_path / "x.m4a", music(3, 44_100), 44_100)
    expected = count(m4a)
    m4a.write_bytes(m4a.read_bytes().replace(b"Lavf", b"L\xe9vf"))
    assert count(m4a) == expected


def test_a_name_that_ends_with_raw_is_only_a_name(tmp_path, music, encode):
    wav = encode(tmp_path / "x.wav", music(2, 44_100), 44_100)
    assert count(wav.rename(tmp_path / "x.raw")) == 24_000


def test_streams_one_behind_the_other_are_heard_whole(tmp_path, music, encode):
    parts = [encode(tmp_path / f"{seed}.mp3", music(4, 44_100, seed=seed), 44_100).read_bytes() for seed in (1, 2)]
    (tmp_path / "joined.mp3").write_bytes(b"".join(parts))
    assert count(tmp_path / "joined.mp3") > 7.9 * 12_000
    ogg = [encode(tmp_path / f"{seed}.ogg", music(4, 44_100, seed=seed), 44_100).read_bytes() for seed in (1, 2)]
    (tmp_path / "chained.ogg").write_bytes(b"".join(ogg))
    clips = TrackClips(
        tmp_path / "chained.ogg",
        sample_rate=12_000,
        rule=ClipRule(n_samples=12_000, short="zeros"),
        choice=ClipChoice(count=1),
    )
    assert [clip.start for clip in clips] == [0]
    assert clips.n_samples < 10 * 12_000


def test_a_wav_of_zeros_is_not_walked_to_its_end(tmp_path):
    path = tmp_path / "sparse.wav"
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 1 << 30) + b"WAVE")
        file.truncate(1 << 30)
    with path.open("rb") as file:
        assert completeness._find_chunk_end(file) is None
        assert file.tell() < 1 << 20


def count(path):
    """Count the samples that a file decodes to at 12 kHz."""
    return sum(len(block) for block in Track(path, 12_000).blocks())
