"""Ogg pages: read, built, numbered anew."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metadata_files import encode_audio, ogg_page, seal_ogg_page

from tagcli.ogg import Page, build_page, has_right_checksum, lace, read_page, shift_number, walk_pages


def rebuild(page, body):
    return build_page(
        body,
        lacing=page.lacing,
        flags=page.flags,
        granule=page.granule,
        serial=page.serial,
        sequence=page.sequence,
    )


@pytest.fixture(scope="module", params=["libopus", "libsndfile"])
def data(request, encode, music, tmp_path_factory):
    """A file of FFmpeg's, and one of libogg's."""
    if request.param == "libopus":
        return encode_audio("libopus", "ogg")
    return encode(tmp_path_factory.mktemp("ogg") / "x.ogg", music(1, 44_100), 44_100).read_bytes()


def test_pages_of_other_programs_are_read_and_built_byte_for_byte(data):
    file = io.BufferedReader(io.BytesIO(data))
    pages = list(walk_pages(file, 0, len(data)))
    assert len(pages) == data.count(b"OggS\0") > 2
    assert [page.sequence for page in pages] == list(range(len(pages)))
    bodies = [data[page.body.start : page.body.end] for page in pages]
    assert all(has_right_checksum(page, body) for page, body in zip(pages, bodies, strict=True))
    assert b"".join(map(rebuild, pages, bodies)) == data
    assert not has_right_checksum(pages[0], bodies[0] + b"\0")
    assert not has_right_checksum(pages[0], bodies[0][:-1] + bytes([bodies[0][-1] ^ 1]))


@given(
    lacing=st.binary(max_size=255),
    sequence=st.integers(0, 2**32 - 1),
    shift=st.integers(-(2**32), 2**32),
    damage=st.integers(0, 2**32 - 1),
)
def test_a_page_that_is_numbered_anew_is_as_right_or_wrong_as_before(lacing, sequence, shift, damage):
    body = bytes(range(256)) * 255
    page = seal_ogg_page(ogg_page(lacing, body[: sum(lacing)], sequence=sequence), damage)
    read = read_page(io.BufferedReader(io.BytesIO(page)), 0, len(page))
    number = read.number
    shifted = page[: number.start] + shift_number(read, shift) + page[number.end :]
    assert shifted == seal_ogg_page(ogg_page(lacing, body[: sum(lacing)], sequence=(sequence + shift) % 2**32), damage)


@pytest.mark.parametrize(("n_bytes", "lacing"), [(0, "00"), (254, "fe"), (255, "ff00"), (511, "ffff01")])
def test_lacing_values_of_a_packet(n_bytes, lacing):
    assert lace(n_bytes) == bytes.fromhex(lacing)


def test_what_is_no_page():
    page = ogg_page(b"\3\4", b"abcdefg")
    for data, is_page in {
        page: True,
        page[:29]: True,
        page[:26]: False,
        b"OggS\1" + page[5:]: False,
        b"x" + page: False,
    }.items():
        found = read_page(io.BufferedReader(io.BytesIO(data)), 0, len(data))
        assert found == (Page(start=0, header=page[:27], lacing=b"\3\4") if is_page else None)
    assert read_page(io.BufferedReader(io.BytesIO(page)), 0, 28) is None
