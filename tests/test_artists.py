"""An artist is the same in every spelling, and cores are those of this process."""

import os
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagcli.artists import artist_key
from tagcli.checkpoint import hash_artists
from tagcli.cores import count_cores
from tagcli.datasets.splits import number_artists

SPELLINGS = ("Björk", unicodedata.normalize("NFD", "Björk"), "BJÖRK ", "Sigur  Rós", "Sigur Rós")


def test_two_artists_in_five_spellings():
    assert [artist_key(name) for name in SPELLINGS] == ["björk"] * 3 + ["sigur rós"] * 2
    assert number_artists(SPELLINGS, "abcde").tolist() == [0, 0, 0, 1, 1]
    assert hash_artists(SPELLINGS) == hash_artists(("Björk", "Sigur Rós"))
    assert len(hash_artists((*SPELLINGS, "", " \u3000\u00a0"))) == 2
    assert artist_key("Ｊ－ＰＯＰ\u3000Ｂａｎｄ") == "j-pop band"


@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_a_spelling_is_no_other_artist(name):
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert artist_key(unicodedata.normalize(form, name)) == artist_key(name)
    assert artist_key(f"  {name}\t") == artist_key(name)
    assert artist_key(artist_key(name)) == artist_key(name)


def test_bytes_that_are_no_text_are_an_artist_all_the_same():
    assert artist_key("A\udcff") == "a\udcff"
    assert len(hash_artists(["A\udcff"])) == 1


def test_many_artists_are_numbered_fast():
    numbers = np.random.default_rng(0).integers(0, 40_000, 200_000)
    artists = [f"Ärtist {number}" for number in numbers.tolist()]
    paths = list(map(str, range(200_000)))
    started = time.perf_counter()
    found = number_artists(artists, paths)
    assert time.perf_counter() - started < 5
    assert len(np.unique(found)) == len(np.unique(numbers))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to cores")
def test_cores_are_those_that_this_process_may_use():
    there = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(there)})
        assert count_cores() == 1
    finally:
        os.sched_setaffinity(0, there)
    assert count_cores() == len(there)
