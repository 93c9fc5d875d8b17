"""Reverse patches: what gives back the very bytes of an old version from the new one, whatever the container.

A patch is the pieces of the old version, each a part of the new one or bytes of its own. It is stored as one zlib
stream: a line of JSON with ``[start, end]`` for a part and a number for so many bytes, then all these bytes.
"""

import json
import zlib
from collections.abc import Iterable
from io import BufferedReader

from tagcli.errors import JournalError
from tagcli.files import Piece, Span, read_at


def make_patch(old: BufferedReader, pieces: Iterable[Piece]) -> bytes:
    """Turn the making of a new version round: what of the old one is not in it is read and kept.

    Parameters
    ----------
    old
        The old version.
    pieces
        What the new version is made of.

    Returns
    -------
    bytes
        The patch.
    """
    layout: list[int | tuple[int, int]] = []
    kept: list[bytes] = []

    def keep(start: int, end: int) -> None:
        if end > start:
            kept.append(read_at(old, start, end - start))
            layout.append(end - start)

    position = place = 0  # in the old version, in the new one
    for piece in pieces:
        if isinstance(piece, bytes):
            place += len(piece)
            continue
        size = piece.end - piece.start
        if piece.start >= position:  # what was moved to the front is kept as bytes
            keep(position, piece.start)
            layout.append((place, place + size))
            position = piece.end
        place += size
    keep(position, old.seek(0, 2))
    return zlib.compress(b"".join([json.dumps(layout).encode(), b"\n", *kept]))


def read_patch(patch: bytes) -> tuple[Piece, ...]:
    """Give the pieces that the old version is made of.

    Parameters
    ----------
    patch
        What `make_patch` made.

    Returns
    -------
    tuple of Span or bytes
        Parts of the new version, and bytes of their own.

    Raises
    ------
    JournalError
        When it is damaged.
    """
    try:
        head, _, kept = zlib.decompress(patch).partition(b"\n")
        pieces: list[Piece] = []
        position = 0
        for part in json.loads(head):
            if isinstance(part, int):
                pieces.append(kept[position : position + part])
                position += part
            else:
                start, end = part
                pieces.append(Span(start=start, end=end))
    except (zlib.error, ValueError, TypeError) as error:
        message = "What was stored of an old version is damaged, so it cannot be put back; keep the file as it is."
        raise JournalError(message) from error
    return tuple(pieces)
