"""Scores over time: clips that overlap, the taggram as a type, its pictures, and arrays that grow on the disk."""

import io
import json
import math
import re
import shutil
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.reading import TrackClips
from tagcli.cli import npz_output
from tagcli.cli.npz_output import open_npz
from tagcli.errors import OutputError
from tagcli.figures.saving import FORMATS
from tagcli.figures.taggram import draw_taggram
from tagcli.figures.taggram_page import write_taggram_page
from tagcli.figures.taggram_scales import COLOURS, find_top, format_time, list_ticks, mix_colour
from tagcli.tagger import TagOptions, open_tagger
from tagcli.tagger.taggram import Taggram, hear_taggram
from tagcli.tags import Failure

RATE = 8000
RAMP_STEP = 1e-6
"""Each sample of the ramp differs from the next by this, exactly enough in float32 up to 0.5."""
SCORES = 1e-6
"""The same clip scored alone, and by the pipeline."""
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&\"'"


# Clips that overlap


@pytest.fixture(scope="module")
def ramp_path(tmp_path_factory):
    """A function that writes a ramp of so many samples, each its own index, at the model's rate."""
    folder = tmp_path_factory.mktemp("ramps")

    def write(n_samples):
        path = folder / f"{n_samples}.wav"
        soundfile.write(path, np.arange(1, n_samples + 1) * RAMP_STEP, RATE, "FLOAT")
        return path

    return write


def read(path, *, hop, length):
    choice = ClipChoice(hop_samples=hop)
    clips = TrackClips(path, sample_rate=RATE, rule=ClipRule(n_samples=length, short="zeros"), choice=choice)
    return clips, list(clips)


@given(n_samples=st.integers(RATE, 90_000), length=st.integers(500, 30_000), share=st.floats(0.05, 1))
@example(n_samples=43_000, length=20_000, share=0.7)  # a tail, and clips that overlap
@settings(max_examples=60, deadline=None)
def test_clips_begin_a_hop_apart_and_the_last_one_ends_at_the_end(ramp_path, n_samples, length, share):
    hop = max(1, round(share * length))
    n_samples = max(n_samples, length)
    starts = list(range(0, n_samples - length + 1, hop))
    if n_samples - (starts[-1] + length) >= RATE:
        starts.append(n_samples - length)
    reader, clips = read(ramp_path(n_samples), hop=hop, length=length)
    assert [clip.start for clip in clips] == starts
    for clip in clips:
        np.testing.assert_array_equal(np.rint(clip.waveform / RAMP_STEP), np.arange(length) + clip.start + 1)
    assert reader.n_samples == n_samples


def test_a_hop_as_long_as_a_clip_is_no_other_choice_of_clips(ramp_path):
    path = ramp_path(50_000)
    _, clips = read(path, hop=16_000, length=16_000)
    _, all_clips = read(path, hop=None, length=16_000)
    for ours, theirs in zip(clips, all_clips, strict=True):
        assert ours.start == theirs.start
        np.testing.assert_array_equal(ours.waveform, theirs.waveform)


def test_clips_move_on_and_leave_nothing_out(ramp_path):
    with pytest.raises(ValueError, match="leave something out"):
        read(ramp_path(50_000), hop=16_001, length=16_000)
    for wrong in ({"hop_samples": 0}, {"hop_samples": 5, "count": 1}):
        with pytest.raises(ValueError, match="samples from clip to clip"):
            ClipChoice(**wrong)
    assert len({str(ClipChoice(hop_samples=hop)) for hop in (None, 1, 2)}) == 3


# The taggram


@pytest.fixture(scope="module")
def tagger(tiny_checkpoint):
    """The tiny tagger: 8 kHz, clips of 2 s."""
    return open_tagger(tiny_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def track(tmp_path_factory, music, encode):
    """A track of 9.3 s at the model's rate: a clip each half second, and one at the end that is nearer."""
    return encode(tmp_path_factory.mktemp("track") / "mix.wav", music(9.3, RATE, n_channels=1), RATE)


def test_every_clip_has_the_scores_of_its_samples(tagger, track):
    taggram = hear_taggram(tagger, track)
    assert (taggram.clip_seconds, taggram.hop_seconds, taggram.duration_seconds) == (2.0, 0.5, 9.3)
    assert taggram.starts_seconds.tolist() == [index / 2 for index in range(15)]  # less than 1 s is left
    waveform, _ = soundfile.read(track, dtype="float32")
    for start, scores in zip(taggram.starts_seconds, taggram.scores, strict=True):
        first = round(start * RATE)
        expected = tagger.module(torch.from_numpy(waveform[None, first : first + 16_000]))[0]
        np.testing.assert_allclose(scores, expected.detach().numpy(), rtol=0, atol=SCORES)


def test_with_a_hop_as_long_as_a_clip_the_means_are_the_scores_of_the_track(tagger, track):
    taggram = hear_taggram(tagger, track, hop_seconds=2.0)
    (expected,) = tagger.score([track], TagOptions(with_taggram=True))
    np.testing.assert_array_equal(taggram.scores, expected.taggram)
    np.testing.assert_array_equal(taggram.starts_seconds, expected.clip_starts_seconds)
    np.testing.assert_allclose(taggram.means, expected.scores, rtol=0, atol=SCORES)


@pytest.mark.parametrize("hop_seconds", [0.0, -1.0, 1e-6, 2.1])
def test_a_way_that_is_none_or_too_long_is_refused(tagger, track, hop_seconds):
    with pytest.raises(ValueError, match="clips of 2 s cannot begin"):
        hear_taggram(tagger, track, hop_seconds=hop_seconds)


def test_a_track_without_scores_says_why(tagger, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(30_000), RATE)
    soundfile.write(tmp_path / "short.wav", np.full(4000, 0.5), RATE)
    reasons = [hear_taggram(tagger, tmp_path / name).code for name in ("silent.wav", "short.wav", "none.wav")]
    assert reasons == ["silent", "too_short", "missing"]


def test_a_track_shorter_than_a_clip_is_one_part(tagger, tmp_path, music, encode):
    taggram = hear_taggram(tagger, encode(tmp_path / "a.wav", music(1.5, RATE, n_channels=1), RATE))
    assert taggram.scores.shape == (1, 6)
    assert taggram.edges_seconds.tolist() == [0.0, 1.5]
    assert taggram.warnings == ("padded",)


def test_memory_does_not_grow_with_the_track(tagger, tmp_path):
    n_samples = 600 * RATE
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).uniform(-0.1, 0.1, n_samples), RATE)
    hear_taggram(tagger, tmp_path / "long.wav", hop_seconds=2.0)  # what is imported and built once is not counted
    tracemalloc.start()
    try:
        assert not isinstance(hear_taggram(tagger, tmp_path / "long.wav", hop_seconds=1.0), Failure)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n_samples * np.dtype(np.float32).itemsize / 4


def make_taggram(scores, *, tags=None, hop_seconds=1.0, clip_seconds=4.0, path="mix.flac"):
    scores = np.asarray(scores, dtype=np.float32)
    n_clips, n_tags = scores.shape
    return Taggram(
        path=Path(path),
        tags=tuple(tags or (f"tag {number}" for number in range(n_tags))),
        scores=scores,
        starts_seconds=np.arange(n_clips) * hop_seconds,
        clip_seconds=clip_seconds,
        hop_seconds=hop_seconds,
        duration_seconds=(n_clips - 1) * hop_seconds + clip_seconds,
    )


@given(st.integers(1, 12), st.floats(0.1, 4), st.floats(0, 0.9999))
@settings(deadline=None)
def test_a_moment_belongs_to_the_clip_whose_middle_is_nearest(n_clips, hop_seconds, share):
    taggram = make_taggram(np.zeros((n_clips, 1)), hop_seconds=hop_seconds)
    moment = share * taggram.duration_seconds
    clip = np.searchsorted(taggram.edges_seconds, moment, side="right") - 1
    distances = np.abs(taggram.starts_seconds + taggram.clip_seconds / 2 - moment)
    assert distances[clip] <= distances.min() + 1e-9
    assert (taggram.edges_seconds[0], taggram.edges_seconds[-1]) == (0, taggram.duration_seconds)


def test_tags_are_chosen_by_name_or_by_their_means():
    taggram = make_taggram([[0.1, 0.5, 0.2, 0.2], [0.3, 0.1, 0.2, 0.2]], tags=["a", "b", "c", "d"])
    assert taggram.choose_best(3).tags == ("b", "a", "c")
    assert taggram.choose_best(9).tags == ("b", "a", "c", "d")
    chosen = taggram.choose(["c", "a", "c"])
    assert chosen.tags == ("c", "a")
    np.testing.assert_array_equal(chosen.scores, taggram.scores[:, [2, 0]])
    with pytest.raises(ValueError, match="no tag 'e'"):
        taggram.choose(["a", "e"])


# Times and colours


@pytest.mark.parametrize(
    ("seconds", "short", "long"),
    [(0, "0:00", "0:00:00"), (59.9, "0:59", "0:00:59"), (3599, "59:59", "0:59:59"), (7384.2, "123:04", "2:03:04")],
)
def test_times_are_minutes_and_seconds(seconds, short, long):
    assert (format_time(seconds), format_time(seconds, has_hours=True)) == (short, long)


@given(st.floats(1, 1e7))
def test_ticks_are_round_and_few(duration_seconds):
    ticks = list_ticks(duration_seconds)
    assert 1 <= len(ticks) <= 12
    assert ticks[0] == 0
    assert ticks[-1] <= duration_seconds
    assert len({end - start for start, end in pairwise(ticks)}) <= 1
    assert duration_seconds < 2 or len(ticks) >= 2


@given(st.floats(0, 1, width=32))
def test_the_darkest_colour_is_not_below_the_highest_score(score):
    top = find_top(np.array([[score]], dtype=np.float32))
    assert score <= top + 1e-6
    assert top <= max(0.05, score + 0.05)


def test_colours_begin_and_end_as_they_are_named_and_get_darker():
    def lightness(colour):
        red, green, blue = bytes.fromhex(colour[1:])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    colours = [mix_colour(share) for share in np.linspace(0, 1, 101)]
    assert [colours[index] for index in (0, 20, 40, 60, 80, 100)] == list(COLOURS)
    assert sorted(colours, key=lightness, reverse=True) == colours
    assert (mix_colour(-1), mix_colour(2)) == (COLOURS[0], COLOURS[-1])


# The picture


def draw(taggram, format_="svg", *, title="A mix"):
    stream = io.BytesIO()
    draw_taggram(taggram, stream, format_=format_, title=title, caption="tiny, clips of 4 s")
    return stream.getvalue()


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_what_it_is_called(format_):
    signatures = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF-"}
    picture = draw(make_taggram(np.random.default_rng(0).random((9, 3))), format_)
    assert picture.startswith(signatures[format_])


def test_a_picture_tells_tags_times_unit_title_and_who_has_listened():
    taggram = make_taggram(np.random.default_rng(0).random((87, 3)), tags=["rock", "jazz", "folk"])
    texts = re.findall(r"<!-- (.*?) -->", draw(taggram).decode())
    assert [text for text in texts if text in taggram.tags] == ["rock", "jazz", "folk"]
    assert {"0:00", "0:30", "1:30", "time (minutes:seconds)", "score (0 to 1)", "A mix"} <= set(texts)
    assert "tiny, clips of 4 s" in texts
    assert "time (hours:minutes:seconds)" in draw(make_taggram([[0.1]], clip_seconds=4000)).decode()


def test_the_first_tag_is_on_top_and_time_runs_to_the_right():
    image = pytest.importorskip("matplotlib.image")
    scores = np.zeros((50, 2))
    scores[25:, 0] = 1  # dark is the right half of the upper row
    pixels = image.imread(io.BytesIO(draw(make_taggram(scores, tags=["a", "b"]), "png")), format="png")[:, :, 0]
    dark = np.argwhere(pixels[:, : int(0.9 * pixels.shape[1])] < 0.1)  # without the colour bar
    is_cell = np.array([np.count_nonzero(dark[:, 0] == row) > 300 for row in range(len(pixels))])
    rows = np.flatnonzero(is_cell & (np.arange(len(pixels)) > 0))
    columns = dark[np.isin(dark[:, 0], rows[len(rows) // 2 - 5 : len(rows) // 2 + 5]), 1]
    assert np.median(rows) < 0.5 * len(pixels)
    assert np.median(columns) > 0.6 * pixels.shape[1]


@pytest.mark.parametrize("text", [r"$\x$", "演歌", "<b>&", "x" * 300])
def test_a_title_and_a_tag_are_no_formula_and_may_be_in_any_letters(text):
    assert draw(make_taggram([[0.5]], tags=[text[:40]]), "png", title=text)


def test_without_matplotlib_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OutputError, match="tagcli\\[plots\\]"):
        draw(make_taggram([[0.5]]))


# The page


class Reader(HTMLParser):
    """Reads a page as a browser would: its elements, and what stands in them."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.texts = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append((self.elements[-1][0] if self.elements else "", data))


def write_page(taggram, *, title="A mix", caption="tiny"):
    stream = io.BytesIO()
    write_taggram_page(taggram, stream, title=title, caption=caption)
    return stream.getvalue().decode("utf-8")


def find_svg(page):
    return ElementTree.fromstring(re.search(r"<svg.*?</svg>", page, re.DOTALL).group())


def find_data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))


def test_the_cells_of_a_page_have_the_colours_of_their_scores():
    taggram = make_taggram(np.random.default_rng(0).random((40, 5)) ** 2)
    cells = next(group for group in find_svg(write_page(taggram)) if group.get("id") == "cells")
    shades = {path.get("fill"): path.get("d") for path in cells}
    found = np.full(taggram.scores.shape, -1.0)
    order = sorted(shades, key=lambda fill: sum(bytes.fromhex(fill[1:])), reverse=True)
    middles = (taggram.edges_seconds[:-1] + taggram.edges_seconds[1:]) / 2 / taggram.duration_seconds * 1000
    for rank, fill in enumerate(order):
        for x, y, width, height in re.findall(r"M([\d.]+) (\d+)h([\d.]+)v(\d+)h-[\d.]+z", shades[fill]):
            inside = (middles > float(x)) & (middles < float(x) + float(width))
            assert (found[inside, int(y) // 24] == -1).all()
            assert int(height) < 24
            found[inside, int(y) // 24] = rank
    assert (found >= 0).all()
    by_score = found.ravel()[np.argsort(taggram.scores, axis=None)]
    assert (np.diff(by_score) >= 0).all()
    assert len(order) > 30


def test_a_page_holds_every_score_and_a_table_of_the_tags():
    taggram = make_taggram(np.random.default_rng(0).random((40, 3)), tags=["rock", "jazz", "90s"])
    page = write_page(taggram)
    data = find_data(page)
    assert data["tags"] == ["rock", "jazz", "90s"]
    np.testing.assert_allclose(np.array(data["scores"]).T, taggram.scores, rtol=0, atol=5e-5)
    np.testing.assert_allclose(data["edges"], taggram.edges_seconds, rtol=0, atol=5e-4)
    cells = [text for element, text in Reader(page).texts if element == "td"]
    best = taggram.scores[:, 1].argmax()
    jazz = [f"{taggram.means[1]:.3f}", f"{taggram.scores[best, 1]:.3f}", format_time(taggram.edges_seconds[best])]
    assert cells[cells.index("jazz") :][:4] == ["jazz", *jazz]


def test_a_page_needs_no_network_and_no_matplotlib(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    page = write_page(make_taggram([[0.5]]))
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|url\(|@import|fetch\(|src=", page)
    assert not {"link", "img", "iframe", "base"} & {element for element, _ in Reader(page).elements}


def test_hostile_names_are_text_on_a_page():
    plain = Reader(write_page(make_taggram([[0.5]], tags=["rock"])))
    page = write_page(make_taggram([[0.5]], tags=[HOSTILE]), title=HOSTILE, caption=HOSTILE)
    read_page = Reader(page)
    assert [element for element, _ in read_page.elements] == [element for element, _ in plain.elements]
    assert not any("onerror" in attributes for _, attributes in read_page.elements)
    texts = "".join(text for element, text in read_page.texts if element in ("h1", "p", "title"))
    assert texts.count(HOSTILE) == 3
    assert find_data(page)["tags"] == [HOSTILE]
    assert find_svg(page) is not None
    assert "<h1>a?</h1>" in write_page(make_taggram([[0.5]]), title="a\udce9")


def test_hours_of_music_are_a_page_of_moderate_size():
    smooth = 0.5 + 0.5 * np.sin(np.arange(10_800)[:, None] / 50 + np.arange(10))
    assert len(write_page(make_taggram(smooth, tags=[f"tag {n}" for n in range(10)]))) < 3e6


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run the page's script with")
def test_the_page_tells_tag_time_and_score_under_the_pointer():
    taggram = make_taggram(np.random.default_rng(0).random((87, 3)), tags=["rock", HOSTILE, "folk"])
    page = write_page(taggram)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[-1]
    stub = """
const elements = {};
const make = id => elements[id] ??= {
  style: {}, attributes: {}, listeners: {}, textContent: "",
  addEventListener(name, listener) { this.listeners[name] = listener },
  setAttribute(name, value) { this.attributes[name] = value },
  getBoundingClientRect: () => ({ left: 100, top: 50, width: 900, height: 300 }),
};
const document = { getElementById: make };
const window = { innerWidth: 1200 };
make("data").textContent = DATA;
SCRIPT
const seen = [];
for (const [clientX, clientY] of POINTS) {
  make("field").listeners.pointermove({ clientX, clientY });
  seen.push([make("told").textContent, make("told").style.display, make("mark").attributes.y]);
}
make("field").listeners.pointerleave();
console.log(JSON.stringify([seen, make("told").style.display, make("mark").attributes.visibility]));
"""
    points = [[100, 50], [550, 151], [999.9, 349.9], [1000.5, 351]]
    text = re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1)
    program = stub.replace("DATA", json.dumps(text)).replace("SCRIPT", script).replace("POINTS", json.dumps(points))
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, display, visibility = json.loads(done.stdout)
    for (x, y), (words, shown, top) in zip(points, told, strict=True):
        row = min(2, math.floor((y - 50) / 100))
        seconds = (x - 100) / 900 * taggram.duration_seconds
        clip = min(86, np.searchsorted(taggram.edges_seconds, seconds, side="right") - 1)
        times = " to ".join(format_time(edge) for edge in taggram.edges_seconds[clip : clip + 2])
        name, when, score = words.split("\n")
        assert (name, when, shown, top) == (taggram.tags[row], times, "block", row * 24)
        assert float(score.removeprefix("score ")) == pytest.approx(taggram.scores[clip, row], abs=6e-4)
    assert (display, visibility) == ("none", "hidden")


# Arrays that grow


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), st.integers(0, 5)),
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
def test_an_npz_file_holds_what_was_added(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    generator = np.random.default_rng(0)
    rows = [generator.random((count, 3)).astype(np.float32) for _, count in parts]
    with open_npz(path) as arrays, pytest.MonkeyPatch.context() as patch:
        patch.setattr(npz_output, "_HELD_BYTES", 16)
        arrays.add_rows("rows", np.empty((0, 3), dtype=np.float32))
        arrays.add_texts("names", "", 0)
        for (name, count), block in zip(parts, rows, strict=True):
            arrays.add_rows("rows", block)
            arrays.add_texts("names", name, count)
    with np.load(path, allow_pickle=False) as found:
        assert sorted(found) == ["names", "rows"]
        np.testing.assert_array_equal(found["rows"], np.concatenate([np.empty((0, 3), np.float32), *rows]))
        assert found["rows"].dtype == np.float32
        assert found["names"].tolist() == [name for name, count in parts for _ in range(count)]
    assert [file.name for file in path.parent.iterdir()] == ["x.npz"]


def test_an_npz_file_is_whole_or_not_there(tmp_path):
    (tmp_path / "x.npz").write_text("what was there before")

    def fail():
        with open_npz(tmp_path / "x.npz") as arrays:
            arrays.add_rows("rows", np.zeros((2, 3)))
            arrays.add_rows("rows", np.zeros((2, 4)))

    with pytest.raises(ValueError, match="do not go below"):
        fail()
    assert (tmp_path / "x.npz").read_text() == "what was there before"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError, match="cannot be written"), open_npz(tmp_path / "nowhere" / "x.npz"):
        pass


def test_rows_wait_on_the_disk(tmp_path):
    block = np.zeros((10_000, 50), dtype=np.float32)
    tracemalloc.start()
    try:
        with open_npz(tmp_path / "x.npz") as arrays:
            for number in range(30):  # 60 MB
                arrays.add_rows("rows", block)
                arrays.add_texts("names", f"{number:0100d}", len(block))  # 120 MB
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6
    with np.load(tmp_path / "x.npz") as found:
        assert found["rows"].shape == (300_000, 50)
