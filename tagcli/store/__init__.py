"""What is remembered between runs: scores and failures by the audio bytes of a track, in one SQLite file.

A file's path, size, time and inode lead to the hash of its audio bytes, and that hash with the model and its settings
to the result. So a look at the file system is enough for a file that nobody touched, and one pass over its bytes for
one that was renamed, moved or had its tags edited.

Several processes may use one store at a time. Each claims a track before it works on it; a claim ends with the result,
or with the process: the system gives its lock file free, however it died.
"""

from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection

from tagcli.database import Database, Design
from tagcli.errors import SkipCode, StoreError
from tagcli.files import FileIdentity
from tagcli.store.claims import Claims, end_claim
from tagcli.store.place import FILE_NAME, clear_store, default_store_path
from tagcli.store.records import PATH_MARK, Pruned, StoredFailure, StoredResult, StoreFacts, key_of

__all__ = [
    "FILE_NAME",
    "PATH_MARK",
    "Pruned",
    "Store",
    "StoreFacts",
    "StoredFailure",
    "StoredResult",
    "clear_store",
    "default_store_path",
]

_SKIP_CODES = ", ".join(f"'{code.value}'" for code in SkipCode)
_ENDS_AS_WANTED = "substr(settings.settings, length(settings.settings) - length(?1) + 1) = ?1"
_RESULT = "results.scores, results.n_clips, results.duration_seconds, results.warnings, results.code, results.message"


_DESIGN = Design(
    title="cache",
    version=1,
    is_durable=False,
    error=StoreError,
    advice="run `tagcli cache clear`, or give --no-cache",
    advice_of_other_version="run `tagcli cache clear` once",
    tables="""
CREATE TABLE settings (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, sha256 TEXT NOT NULL, settings TEXT NOT NULL, UNIQUE (sha256, settings)
);
CREATE TABLE payloads (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE);
CREATE TABLE files (
    path BLOB PRIMARY KEY, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    payload INTEGER NOT NULL REFERENCES payloads
) WITHOUT ROWID;
CREATE INDEX files_by_payload ON files (payload);
CREATE TABLE results (
    payload INTEGER NOT NULL REFERENCES payloads, settings INTEGER NOT NULL REFERENCES settings,
    scores BLOB, n_clips INTEGER NOT NULL, duration_seconds REAL, warnings TEXT NOT NULL, code TEXT, message TEXT,
    PRIMARY KEY (payload, settings)
) WITHOUT ROWID;
CREATE TABLE claims (
    sha256 BLOB NOT NULL, settings INTEGER NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (sha256, settings)
) WITHOUT ROWID;
""",
)


class Store:
    """The open store; it may be used by several threads.

    Parameters
    ----------
    path
        Its file; it is created, with its folder, when it is not there.

    Raises
    ------
    StoreError
        When it cannot be opened, is damaged, or was made by another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path, _DESIGN)
        self._claims = Claims(self._database)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give every claim back and close the file."""
        self._claims.close()
        self._database.close()

    # Results

    def find_settings(self, *, model: str, sha256: str, settings: str) -> int:
        """Give the number under which the results of a model with its settings are kept.

        Parameters
        ----------
        model
            Its name, for people.
        sha256
            Of the checkpoint.
        settings
            All else that a score depends on.
        """
        key = (sha256, settings)

        def find(connection: Connection) -> int:
            connection.execute(
                "INSERT INTO settings (model, sha256, settings) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (model, *key)
            )
            (number,) = connection.execute("SELECT id FROM settings WHERE sha256 = ? AND settings = ?", key).fetchone()
            return int(number)

        return self._database.write(find)

    def find_by_file(self, path: bytes, identity: FileIdentity, settings: int) -> StoredResult | None:
        """Find the result of a file that is as it was; its bytes are not looked at."""
        query = (
            f"SELECT {_RESULT} FROM files JOIN results USING (payload)"
            " WHERE path = ? AND inode = ? AND size = ? AND mtime_ns = ? AND settings = ?"
        )
        return self._find(query, (path, *key_of(identity), settings))

    def find_by_payload(
        self, sha256: str, settings: int, *, path: bytes, identity: FileIdentity
    ) -> StoredResult | None:
        """Find the result of audio bytes, and remember that this file holds them."""
        query = (
            f"SELECT {_RESULT} FROM payloads JOIN results ON payload = payloads.id"
            " WHERE payloads.sha256 = ? AND settings = ?"
        )
        result = self._find(query, (bytes.fromhex(sha256), settings))
        if result is not None:
            self._database.write(lambda connection: _note_file(connection, sha256, path, identity))
        return result

    def keep(self, sha256: str, settings: int, result: StoredResult, *, path: bytes, identity: FileIdentity) -> None:
        """Remember a result, and end the claim on it.

        Parameters
        ----------
        sha256
            Of the audio bytes, in hexadecimal.
        settings
            Number of model and settings.
        result
            What was heard.
        path, identity
            The file that holds the bytes.
        """
        columns = (
            result.scores,
            result.n_clips,
            result.duration_seconds,
            " ".join(result.warnings),
            result.code,
            result.message,
        )

        def insert(connection: Connection) -> None:
            payload = _note_file(connection, sha256, path, identity)
            connection.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (payload, settings, *columns)
            )
            end_claim(connection, sha256, settings)

        self._database.write(insert)

    def note_change(self, path: bytes, identity: FileIdentity) -> None:
        """Remember that a file has another size and time now, and the same audio bytes."""
        values = (*key_of(identity), path)
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE files SET inode = ?, size = ?, mtime_ns = ? WHERE path = ?", values
            )
        )

    def forget_file(self, path: bytes) -> None:
        """Forget which audio bytes a file holds."""
        self._database.write(lambda connection: connection.execute("DELETE FROM files WHERE path = ?", (path,)))

    def _find(self, query: str, values: tuple[object, ...]) -> StoredResult | None:
        """Run a query for one result."""
        rows = self._database.read(query, values)
        if not rows:
            return None
        ((scores, n_clips, duration_seconds, warnings, code, message),) = rows
        return StoredResult(
            scores=scores,
            n_clips=n_clips,
            duration_seconds=duration_seconds,
            warnings=tuple(warnings.split()),
            code=code,
            message=message,
        )

    # Claims

    def claim(self, sha256: str, settings: int) -> bool:
        """Claim audio bytes before the work on them begins; False when a thread or process is at work on them."""
        return self._claims.claim(sha256, settings)

    def release(self, sha256: str, settings: int) -> None:
        """End a claim without a result."""
        self._claims.release(sha256, settings)

    # Upkeep

    def list_failures(self, *, settings_end: str) -> Iterator[StoredFailure]:
        """Yield each file that is remembered to have failed, once for each reason, by path.

        Parameters
        ----------
        settings_end
            How the settings end that count.
        """
        query = (
            "SELECT DISTINCT path, inode, size, mtime_ns, code, message FROM files JOIN results USING (payload)"
            " JOIN settings ON settings.id = results.settings"
            f" WHERE code IS NOT NULL AND code NOT IN ({_SKIP_CODES}) AND {_ENDS_AS_WANTED} ORDER BY path"
        )
        for path, inode, size, mtime_ns, code, message in self._database.read(query, (settings_end,)):
            yield StoredFailure(path=path, key=(inode, size, mtime_ns), code=code, message=message)

    def describe(self, *, settings_end: str) -> StoreFacts:
        """Count what is remembered.

        Parameters
        ----------
        settings_end
            How the settings end whose failures are counted.
        """
        with self._database.lock:
            n_files, n_payloads, n_failures = (
                self._database.read(query, values)[0][0]
                for query, values in (
                    ("SELECT count(*) FROM files", ()),
                    ("SELECT count(*) FROM payloads", ()),
                    (
                        "SELECT count(*) FROM results JOIN settings ON settings.id = results.settings"
                        f" WHERE code IS NOT NULL AND code NOT IN ({_SKIP_CODES}) AND {_ENDS_AS_WANTED}",
                        (settings_end,),
                    ),
                )
            )
            results = self._database.read(
                "SELECT model, settings.settings, count(*) FROM results JOIN settings ON settings.id = results.settings"
                " GROUP BY settings.id ORDER BY model, settings.settings"
            )
            size = self._database.measure()
        return StoreFacts(
            path=self.path,
            size=size,
            n_files=n_files,
            n_payloads=n_payloads,
            n_failures=n_failures,
            n_results={(model, settings): count for model, settings, count in results},
        )

    def list_paths(self) -> list[bytes]:
        """Give every path that is remembered."""
        return [path for (path,) in self._database.read("SELECT path FROM files ORDER BY path")]

    def forget(self, paths: list[bytes], *, settings_end: str, is_dry_run: bool = False) -> Pruned:
        """Forget paths, all results that no remembered path leads to, and those of other settings; the file shrinks.

        Parameters
        ----------
        paths
            Those to forget.
        settings_end
            How the settings end whose results are kept.
        is_dry_run
            Whether it is only counted, and nothing forgotten.
        """

        def drop(connection: Connection) -> int:
            connection.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])
            dropped = connection.execute(
                "DELETE FROM results WHERE payload NOT IN (SELECT payload FROM files)"
                f" OR settings NOT IN (SELECT id FROM settings WHERE {_ENDS_AS_WANTED})",
                (settings_end,),
            )
            connection.execute("DELETE FROM payloads WHERE id NOT IN (SELECT payload FROM files)")
            # settings stay: another process may have just begun with them, and their number must not become others'
            if is_dry_run:
                connection.rollback()
            return dropped.rowcount

        n_results = self._database.write(drop)
        if not is_dry_run:
            self._database.compact()
        return Pruned(n_files=len(paths), n_results=n_results)


def _note_file(connection: Connection, sha256: str, path: bytes, identity: FileIdentity) -> int:
    """Remember which audio bytes a file holds, and give their number; inside a transaction."""
    key = (bytes.fromhex(sha256),)
    connection.execute("INSERT INTO payloads (sha256) VALUES (?) ON CONFLICT DO NOTHING", key)
    (payload,) = connection.execute("SELECT id FROM payloads WHERE sha256 = ?", key).fetchone()
    connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (path, *key_of(identity), payload))
    return int(payload)
