"""A training's folder: the recipe as it was followed, the log, the best checkpoint, and the state to go on from.

Whatever cannot be written raises `TrainingError`.
"""

import errno
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from tagcli.errors import CheckpointError, TrainingError

FORMAT_VERSION = 1
BEST, REJECTED = "best.safetensors", "rejected.safetensors"
CONFIG, LOG, STATE, LOCK = "config.toml", "log.jsonl", "last/state.pt", ".lock"
DATASET = "dataset.tsv"


class RunFolder:
    """The files of one training; each is replaced whole, the log is appended to.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def best(self) -> Path:
        """The best checkpoint so far."""
        return self.path / BEST

    @property
    def config(self) -> Path:
        """The recipe that was followed."""
        return self.path / CONFIG

    @property
    def has_begun(self) -> bool:
        """Whether a training was begun here."""
        return self.config.is_file()

    @property
    def has_state(self) -> bool:
        """Whether there is a state to go on from."""
        return (self.path / STATE).is_file()

    def check_free(self) -> None:
        """See that a training can begin here.

        Raises
        ------
        TrainingError
            When the folder holds something already, or cannot be looked into.
        """
        try:
            names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
            above = next(path for path in (self.path.absolute(), *self.path.absolute().parents) if path.exists())
            if not above.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), above)
            if not os.access(above, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), above)
        except OSError as error:
            msg = f"The folder {self.path} cannot be used ({error.strerror}); choose another place for the run."
            raise TrainingError(msg, path=self.path) from error
        if self.has_begun:
            msg = f"{self.path} holds a training; go on with it by --resume, or choose another folder."
            raise TrainingError(msg, path=self.path)
        if names - {DATASET, Path(DATASET).with_suffix(".toml").name, LOCK}:  # what is written before the recipe
            msg = f"{self.path} is not empty and holds no training; choose another folder."
            raise TrainingError(msg, path=self.path)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Make the folder, and keep other processes from training in it.

        Raises
        ------
        TrainingError
            When it cannot be made, or another process trains in it.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK, timeout=0)
            lock.acquire()
        except Timeout as error:
            msg = f"Another process trains in {self.path}; wait for it, or choose another folder."
            raise TrainingError(msg, path=self.path) from error
        except OSError as error:
            msg = f"The folder {self.path} cannot be made or written into ({error.strerror}); choose another place."
            raise TrainingError(msg, path=self.path) from error
        try:
            yield
        finally:
            lock.release()

    def write_config(self, document: Mapping[str, Any]) -> None:
        """Write the recipe that is followed."""
        import tomli_w

        self._replace(self.config, tomli_w.dumps(document).encode())

    def reject_best(self) -> None:
        """Put the best checkpoint aside, so that nobody takes it for a better one."""
        try:
            self.best.replace(self.path / REJECTED)
        except OSError as error:
            raise self._translate(self.best, error) from error

    def restore_rejected(self) -> None:
        """Make the checkpoint that was put aside the best one again, if there is one."""
        if not self.best.is_file() and (self.path / REJECTED).is_file():
            try:
                (self.path / REJECTED).replace(self.best)
            except OSError as error:
                raise self._translate(self.best, error) from error

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the log."""
        try:
            with (self.path / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise self._translate(self.path / LOG, error) from error

    def measure_log(self) -> int:
        """Count the bytes of the log."""
        try:
            return (self.path / LOG).stat().st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._translate(self.path / LOG, error) from error

    def cut_log(self, n_bytes: int) -> None:
        """Forget what was logged after a state was kept."""
        if self.measure_log() > n_bytes:
            try:
                os.truncate(self.path / LOG, n_bytes)
            except OSError as error:
                raise self._translate(self.path / LOG, error) from error

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep a state: tensors and plain values."""
        buffer = io.BytesIO()
        torch.save({"format_version": FORMAT_VERSION, **state}, buffer)
        self._replace(self.path / STATE, buffer.getvalue())

    def load_state(self) -> dict[str, Any]:
        """Read the state that was kept, onto the CPU; nothing in the file is executed.

        Raises
        ------
        CheckpointError
            When it is damaged, or of another format version.
        """
        path = self.path / STATE
        damaged = f"The state {path} is damaged; delete it to begin anew, or copy it again."
        try:
            content = path.read_bytes()
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if archive.testzip() is not None:
                    raise CheckpointError(damaged, path=path)
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except OSError as error:
            msg = f"The state {path} cannot be read ({error.strerror}); check its permissions."
            raise CheckpointError(msg, path=path) from error
        except CheckpointError:
            raise
        except Exception as error:  # zipfile and the restricted unpickler raise whatever damaged bytes lead them to
            raise CheckpointError(damaged, path=path) from error
        if not isinstance(state, dict) or state.get("format_version") != FORMAT_VERSION:
            msg = f"The state {path} is of another version of tagcli; go on with that one, or begin anew elsewhere."
            raise CheckpointError(msg, path=path)
        return state

    def _replace(self, path: Path, content: bytes) -> None:
        """Write a file beside, sync it, and rename it."""
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)  # a full disk is full of it
            raise self._translate(path, error) from error

    def _translate(self, path: Path, error: OSError) -> TrainingError:
        msg = f"{path} cannot be written ({error.strerror}); check the folder and its free space, then --resume."
        return TrainingError(msg, path=path)
