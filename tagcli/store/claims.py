"""Who works on what: a claim ends with the result, or with its owner, whose lock file the system then gives free."""

import time
import uuid
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

from filelock import FileLock, Timeout

from tagcli.database import PATIENCE_SECONDS, Database
from tagcli.errors import StoreError

_SWEEP_SECONDS = 1.0  # how often the owners of claims are looked after
_LOCK_PREFIX = "claims-"


class Claims:
    """The claims of one open store, and its look at those of others; they may be used by several threads.

    Parameters
    ----------
    database
        Where they are kept; the lock files lie beside it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = uuid.uuid4().hex
        self._owner_lock = FileLock(self._lock_path(self._owner), thread_local=False)
        self._is_alive = False
        self._swept = 0.0

    def claim(self, sha256: str, settings: int) -> bool:
        """Claim audio bytes before the work on them begins; False when a thread or process is at work on them."""
        self._sweep()
        self._take_owner_lock()

        def insert(connection: Connection) -> bool:
            claimed = connection.execute(
                "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (bytes.fromhex(sha256), settings, self._owner),
            )
            return claimed.rowcount == 1

        return self._database.write(insert)

    def release(self, sha256: str, settings: int) -> None:
        """End a claim of ours."""
        values = (bytes.fromhex(sha256), settings, self._owner)
        self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM claims WHERE sha256 = ? AND settings = ? AND owner = ?", values
            )
        )

    def close(self) -> None:
        """Give every claim back."""
        with self._database.lock, suppress(StoreError, OSError):
            if self._is_alive:
                self._drop(self._owner)
                self._owner_lock.release(force=True)
                Path(self._owner_lock.lock_file).unlink(missing_ok=True)
                self._is_alive = False

    def _take_owner_lock(self) -> None:
        """Hold a lock for as long as this process lives."""
        with self._database.lock, self._database.translated():
            while not self._is_alive:
                self._owner_lock.acquire(timeout=PATIENCE_SECONDS)
                if Path(self._owner_lock.lock_file).exists():
                    self._is_alive = True
                else:  # another process took it for a dead one's, just before it was locked
                    self._owner_lock.release(force=True)

    def _sweep(self) -> None:
        """Drop the claims of processes that are no more; not at every call."""
        with self._database.lock, self._database.translated():
            if time.monotonic() - self._swept < _SWEEP_SECONDS:
                return
            self._swept = time.monotonic()
            owners = {path.stem.removeprefix(_LOCK_PREFIX) for path in lock_files_beside(self._database.path)}
            owners |= {owner for (owner,) in self._database.read("SELECT DISTINCT owner FROM claims")}
            for owner in owners - {self._owner}:
                lock = FileLock(self._lock_path(owner), thread_local=False)
                with suppress(Timeout), lock.acquire(blocking=False):
                    self._drop(owner)
                    with suppress(OSError):  # Windows removes no file that is open; elsewhere its owner may wait for it
                        Path(lock.lock_file).unlink()

    def _drop(self, owner: str) -> None:
        """Drop every claim of an owner."""
        self._database.write(lambda connection: connection.execute("DELETE FROM claims WHERE owner = ?", (owner,)))

    def _lock_path(self, owner: str) -> Path:
        """Name the file that is locked for as long as the owner of claims lives."""
        return self._database.path.with_name(f"{_LOCK_PREFIX}{owner}.lock")


def end_claim(connection: Connection, sha256: str, settings: int) -> None:
    """End a claim, whoever has it, because there is a result; inside a transaction."""
    connection.execute("DELETE FROM claims WHERE sha256 = ? AND settings = ?", (bytes.fromhex(sha256), settings))


def lock_files_beside(path: Path) -> list[Path]:
    """Find the lock files of all owners, the living and the dead, of the claims in a store."""
    return list(path.parent.glob(f"{_LOCK_PREFIX}*.lock"))
