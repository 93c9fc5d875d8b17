"""Arrays for an npz file whose length is known at the end only: rows wait on the disk, not in memory."""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tagcli.cli.output import open_output

_HELD_BYTES = 1 << 22  # of each array in memory, before its rows go to the disk


class NpzArrays:
    """The arrays of one npz file, as they grow.

    Parameters
    ----------
    folder
        Where rows wait: the disk that is to hold the file.
    stack
        Ends the files that they wait in.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._rows: dict[str, _Rows] = {}
        self._texts: dict[str, list[tuple[str, int]]] = {}

    def add_rows(self, name: str, rows: npt.NDArray[Any]) -> None:
        """Append rows to an array; the first ones, maybe none, give its type and shape.

        Parameters
        ----------
        name
            Of the array.
        rows
            [shape=(n_rows, ...)]
        """
        if name not in self._rows:
            file = SpooledTemporaryFile(max_size=_HELD_BYTES, dir=str(self._folder))  # noqa: SIM115  # the stack does
            self._stack.enter_context(file)
            self._rows[name] = _Rows(file, rows)
        self._rows[name].add(rows)

    def add_texts(self, name: str, text: str, count: int) -> None:
        """Append a text `count` times to an array of texts; none at all only make the array."""
        self._texts.setdefault(name, []).append((text, count))

    def write(self, file: IO[bytes]) -> None:
        """Write the arrays as `numpy.savez` would; texts, most of which is padding, are compressed."""
        with zipfile.ZipFile(file, "w") as archive:
            for name, rows in self._rows.items():
                with _open_member(archive, name, zipfile.ZIP_STORED) as member:
                    rows.write(member)
            for name, texts in self._texts.items():
                with _open_member(archive, name, zipfile.ZIP_DEFLATED) as member:
                    _write_texts(texts, member)


@contextmanager
def open_npz(path: Path) -> Iterator[NpzArrays]:
    """Open an npz file that appears under its name, with what was added, when the context ends without an error.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with open_output(path, binary=True) as file, ExitStack() as stack:
        arrays = NpzArrays(path.resolve().parent, stack)
        yield arrays
        arrays.write(file)


class _Rows:
    """Rows of one array, in their bytes."""

    def __init__(self, file: SpooledTemporaryFile[bytes], rows: npt.NDArray[Any]) -> None:
        self._file = file
        self._dtype, self._shape = rows.dtype, rows.shape[1:]
        self._n_rows = 0

    def add(self, rows: npt.NDArray[Any]) -> None:
        if (rows.dtype, rows.shape[1:]) != (self._dtype, self._shape):
            msg = f"rows of {rows.dtype} {rows.shape[1:]} do not go below rows of {self._dtype} {self._shape}"
            raise ValueError(msg)
        self._file.write(rows.tobytes())
        self._n_rows += len(rows)

    def write(self, member: IO[bytes]) -> None:
        _write_header(member, self._dtype, (self._n_rows, *self._shape))
        self._file.seek(0)
        shutil.copyfileobj(self._file, member)


def _open_member(archive: zipfile.ZipFile, name: str, compression: int) -> IO[bytes]:
    """Begin an array in an npz file; without a time, so that the same arrays make the same file."""
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = compression
    return archive.open(member, "w", force_zip64=True)


def _write_texts(texts: list[tuple[str, int]], member: IO[bytes]) -> None:
    dtype = np.dtype(f"<U{max(1, *(len(text) for text, _ in texts))}")
    _write_header(member, dtype, (sum(count for _, count in texts),))
    for text, count in texts:
        member.write(np.array(text, dtype=dtype).tobytes() * count)


def _write_header(member: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(member, header)
