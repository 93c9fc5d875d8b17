"""Keep the decoders' own chatter off the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence what C libraries print to the error stream, while Python's own `sys.stderr` goes on.

    The mpg123 inside libsndfile prints lines such as "part2_3_length too large" for most mp3 files, sound ones too,
    and has no switch to turn them off. File descriptor 2 is put aside for as long as the context lasts; what was wrong
    with a file is told by its warnings instead.
    """
    sys.stderr.flush()
    aside = os.dup(2)
    original = sys.stderr
    with os.fdopen(aside, "w", buffering=1, encoding=original.encoding, errors="backslashreplace") as stream:
        try:
            goes_to_descriptor = original.fileno() == 2
        except (OSError, ValueError, AttributeError):
            goes_to_descriptor = False  # replaced by a test or a notebook
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        if goes_to_descriptor:
            sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = original
            stream.flush()
            os.dup2(aside, 2)
