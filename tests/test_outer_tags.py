import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metadata_files import (
    ape_tag,
    appended_id3,
    id3_frame,
    id3_tag,
    id3v1,
    lyrics3v1,
    lyrics3v2,
    mp3,
    text_content,
)

from tagcli.container import Container, find_container
from tagcli.errors import MetadataError, TagcliError
from tagcli.files import Span
from tagcli.outer_tags import decode_syncsafe, find_content
from tagcli.payload import hash_payload

TITLE = id3_frame(4, "TIT2", text_content("A title"))
HEADS = {
    "none": b"",
    "v2.2": b"ID3\x02\x00\x00\x00\x00\x00\x0aTT2\x00\x00\x02\x00ab\x00",
    "v2.3": id3_tag(3, [id3_frame(3, "TIT2", text_content("A title", 0))], padding=100),
    "v2.4": id3_tag(4, [TITLE]),
    "footer": id3_tag(4, [TITLE], footer=True),
    "two": id3_tag(4, [TITLE]) + id3_tag(3, [], padding=7),
}
TAILS = {
    "none": b"",
    "id3v1": id3v1(),
    "id3v1+": id3v1(extended=True),
    "ape": ape_tag({"Genre": "Rock"}),
    "ape without header": ape_tag({"Genre": "Rock"}, header=False),
    "ape, id3v1": ape_tag({"Genre": "Rock"}) + id3v1(),
    "lyrics3v2, id3v1": lyrics3v2() + id3v1(),
    "lyrics3v1, id3v1": lyrics3v1() + id3v1(),
    "ape, lyrics3v2, id3v1": ape_tag({"Genre": "Rock"}) + lyrics3v2() + id3v1(),
    "id3v2.4": appended_id3([TITLE]),
    "id3v2.4, id3v1": appended_id3([TITLE]) + id3v1(),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "track.mp3"


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("head", HEADS)
def test_content_is_what_lies_between_the_tags(path, head, tail):
    path.write_bytes(HEADS[head] + mp3() + TAILS[tail])
    start = len(HEADS[head])
    assert find_content(path) == Span(start=start, end=start + len(mp3()))
    assert hash_payload(path) == hashlib.sha256(mp3()).hexdigest()
    assert find_container(path) is Container.MP3


def test_tag_that_claims_more_than_the_file_is_content(path):
    path.write_bytes(id3_tag(4, [], padding=5000)[:3000])
    assert find_content(path) == Span(start=0, end=3000)


@pytest.mark.parametrize("header", [True, False])
def test_a_tag_with_a_mark_at_its_end_is_never_taken_for_id3v1(path, header):
    """APETAGEX holds TAG, which an ID3v1 tag begins with; so do keys and texts."""
    for n_bytes in range(100):
        text = "a" * n_bytes
        for tail in (lyrics3v1(text), lyrics3v2(text), ape_tag({"Genre": text}, header=header)):
            path.write_bytes(mp3() + ape_tag({"Genre": "Rock", "TAGCLI_MODEL": "m"}, header=header) + tail)
            assert find_content(path) == Span(start=0, end=len(mp3()))


@pytest.mark.parametrize("name", ["TAGCLI_TAGS", "TAGCLI/TAGS"])
def test_a_name_of_ours_is_never_taken_for_id3v1(path, name):
    path.write_bytes(mp3() + name.encode().ljust(128, b"a"))
    assert find_content(path) == Span(start=0, end=len(mp3()) + 128)
    path.write_bytes(mp3() + id3v1(b"CLI rocks"))
    assert find_content(path) == Span(start=0, end=len(mp3()))


def test_file_of_tags_only_has_no_content(path):
    path.write_bytes(HEADS["v2.4"] + id3v1())
    assert find_content(path) == Span(start=len(HEADS["v2.4"]), end=len(HEADS["v2.4"]))


def test_tag_at_the_end_never_reaches_into_the_tag_at_the_start(path):
    greedy = bytearray(ape_tag({"a": "b"}))
    greedy[-20:-16] = (500).to_bytes(4, "little")
    path.write_bytes(id3_tag(4, [], padding=400) + bytes(greedy))
    assert find_content(path) == Span(start=410, end=410 + len(greedy))


@pytest.mark.parametrize(
    ("data", "size"),
    [(b"\0\0\0\0", 0), (b"\0\0\x01\0", 128), (b"\x7f\x7f\x7f\x7f", (1 << 28) - 1), (b"\0\0\x80\0", None)],
)
def test_syncsafe(data, size):
    assert decode_syncsafe(data) == size


@given(data=st.binary(max_size=400), head=st.sampled_from(list(HEADS)), tail=st.sampled_from(list(TAILS)))
def test_random_bytes_never_crash(tmp_path_factory, data, head, tail):
    path = tmp_path_factory.getbasetemp() / "random.mp3"
    path.write_bytes(HEADS[head] + data + TAILS[tail])
    content = find_content(path)
    assert 0 <= content.start <= content.end <= path.stat().st_size
    find_container(path)
    hash_payload(path)


def test_unreadable_paths_are_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing.mp3", ".", "pipe"):
        for read in (find_content, hash_payload, find_container):
            with pytest.raises(MetadataError) as caught:
                read(tmp_path / name)
            assert isinstance(caught.value, TagcliError)
            assert str(tmp_path / name) in caught.value.message
            assert caught.value.path == tmp_path / name
