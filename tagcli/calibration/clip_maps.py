"""What a network is given of many clips, kept in a temporary file for as long as it is gone through again and again."""

import tempfile
import threading
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from tagcli.errors import StoreError

Map = npt.NDArray[np.float32]


class ClipMaps:
    """Log-mel maps in a file of no name, which is gone when they are closed; from any thread.

    Parameters
    ----------
    shape
        Of each map: (n_mels, n_frames).

    Raises
    ------
    StoreError
        When there is no place for such a file.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._n_bytes = shape[0] * shape[1] * np.dtype(np.float32).itemsize
        self._n_maps = 0
        self._lock = threading.Lock()
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by __exit__
        except OSError as error:
            raise _refused(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, log_mel: Map) -> int:
        """Keep a map [shape=(n_mels, n_frames)]; gives its number.

        Raises
        ------
        StoreError
            When there is no space for it.
        """
        content = memoryview(log_mel.astype(np.float32).tobytes())
        with self._lock:
            try:
                self._file.seek(self._n_maps * self._n_bytes)
                while content:
                    content = content[self._file.write(content) :]
            except OSError as error:
                raise _refused(error) from error
            self._n_maps += 1
            return self._n_maps - 1

    def read(self, number: int) -> Map:
        """Give a map again [shape=(n_mels, n_frames)]."""
        with self._lock:
            self._file.seek(number * self._n_bytes)
            content = self._file.read(self._n_bytes)
        return np.frombuffer(bytearray(content), dtype=np.float32).reshape(self._shape)


def _refused(error: OSError) -> StoreError:
    msg = (
        f"What the network is given of the clips cannot be kept in {tempfile.gettempdir()} ({error.strerror}); set "
        "TMPDIR to a folder with more space, or give a smaller folder of music."
    )
    return StoreError(msg)
