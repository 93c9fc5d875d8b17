"""Where clips lie in a track, and what becomes of a track that is shorter than one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagcli.audio.clips import ClipChoice, ClipRule, fill_clip

LENGTHS = st.integers(1, 10**7)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("all", ClipChoice()),
        ("middle", ClipChoice(count=1, middle=True)),
        ("1", ClipChoice(count=1)),
        ("12", ClipChoice(count=12)),
    ],
)
def test_a_choice_is_read_and_written_as_the_user_says_it(text, choice):
    assert ClipChoice.parse(text) == choice
    assert str(choice) == text


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "ALL", "many", "²", "١", " 3", "+3", "1e3"])
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(ValueError, match="none of all, middle, or a number"):
        ClipChoice.parse(text)


@given(clip_samples=LENGTHS, spare=LENGTHS | st.just(0))
def test_the_middle_clip_has_as_much_before_as_behind_it(clip_samples, spare):
    (start,) = ClipChoice.parse("middle").starts(clip_samples + spare, clip_samples)
    behind = spare - start
    assert start == spare // 2
    assert behind - start in (0, 1)


@given(count=st.integers(1, 1000), clip_samples=LENGTHS, spare=LENGTHS | st.just(0))
def test_chosen_clips_are_evenly_spaced_in_order_and_within_the_track(count, clip_samples, spare):
    starts = ClipChoice.parse(str(count)).starts(clip_samples + spare, clip_samples)
    assert starts == [index * (spare // count) for index in range(count)]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert starts[-1] + clip_samples <= clip_samples + spare
    if spare >= count:
        assert len(set(starts)) == count


def test_the_starts_of_a_known_case():
    assert ClipChoice.parse("3").starts(100, 10) == [0, 30, 60]
    assert ClipChoice.parse("middle").starts(101, 10) == [45]
    assert ClipChoice.parse("4").starts(10, 10) == [0, 0, 0, 0]


def test_all_clips_need_no_known_length():
    assert ClipChoice.parse("all").starts(100, 10) is None


@given(n_samples=st.integers(1, 300), clip_samples=st.integers(1, 300))
def test_a_short_track_is_repeated_or_followed_by_zeros(n_samples, clip_samples):
    n_samples = min(n_samples, clip_samples)
    waveform = np.arange(1, n_samples + 1, dtype=np.float32)
    repeated = fill_clip(waveform, ClipRule(n_samples=clip_samples, short="repeat"))
    padded = fill_clip(waveform, ClipRule(n_samples=clip_samples, short="zeros"))
    assert repeated.tolist() == [index % n_samples + 1 for index in range(clip_samples)]
    assert padded.tolist() == [*range(1, n_samples + 1), *[0] * (clip_samples - n_samples)]
    assert repeated.dtype == padded.dtype == np.float32
