"""Where the user's store lies, and how it is removed."""

from contextlib import suppress
from pathlib import Path

import platformdirs

from tagcli.database import files_of
from tagcli.errors import StoreError
from tagcli.store.claims import lock_files_beside

FILE_NAME = "scores.sqlite3"


def default_store_path() -> Path:
    """Say where the user's store lies."""
    return platformdirs.user_cache_path("tagcli") / FILE_NAME


def clear_store(path: Path) -> int:
    """Remove a store with all that it remembers, damaged or not.

    Parameters
    ----------
    path
        Its file.

    Returns
    -------
    int
        Number of bytes that it took.

    Raises
    ------
    StoreError
        When it cannot be removed.
    """
    n_bytes = 0
    try:
        for part in (*files_of(path), *lock_files_beside(path)):
            with suppress(FileNotFoundError):
                size = part.stat().st_size
                part.unlink()
                n_bytes += size
    except OSError as error:
        msg = f"The cache {path} cannot be removed ({error.strerror}); remove it by hand."
        raise StoreError(msg, path=path) from error
    return n_bytes
