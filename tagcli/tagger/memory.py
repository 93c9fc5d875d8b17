"""Remember what was heard: between results and the store, which know nothing of each other."""

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from tagcli.errors import FailureCode, MetadataError, SkipCode, StoreError, WarningCode
from tagcli.files import FileIdentity
from tagcli.payload import hash_payload
from tagcli.store import PATH_MARK, Store, StoredResult
from tagcli.tags import Failure, TrackScores

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_SHA256_OF_NOTHING = hashlib.sha256().hexdigest()  # what such files lack is told by their tags, or not at all
NUMBERS = 2
"""Raise it with every change of predicted numbers: what was remembered before is then heard again."""
SETTINGS_END = f" numbers={NUMBERS}"
"""How the settings end whose results can be recalled."""
_FATES_OF_FILES = frozenset({FailureCode.MISSING, FailureCode.EMPTY, FailureCode.WRITE_FAILED})
"""Failures that are not the audio bytes' own."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A track that is not remembered.

    Parameters
    ----------
    path, identity
        The file.
    sha256
        Of its audio bytes, in hexadecimal.
    is_claimed
        Whether it is ours to work on; another thread or process is at it otherwise.
    """

    path: Path
    identity: FileIdentity
    sha256: str
    is_claimed: bool


class Memory:
    """What is remembered for one model and its settings; it may be used by several threads.

    A store that fails in the middle of a run is told of once and not used any more.

    Parameters
    ----------
    store
        Where it is kept.
    model, sha256
        Name and hash of the checkpoint.
    settings
        All else that a score depends on, as text.
    retries_failures
        Whether a track that failed is tried again.
    only_keeps
        Whether nothing is recalled, because more is wanted than is remembered.
    """

    def __init__(
        self,
        store: Store,
        *,
        model: str,
        sha256: str,
        settings: str,
        retries_failures: bool = False,
        only_keeps: bool = False,
    ) -> None:
        self.n_recalled = 0
        self._store: Store | None = store
        self._retries_failures = retries_failures
        self._only_keeps = only_keeps
        self._lock = threading.Lock()
        self._claimed: set[str] = set()
        self._failed_now: set[str] = set()
        self.settings_number = store.find_settings(model=model, sha256=sha256, settings=settings + SETTINGS_END)

    def recall_by_file(self, path: Path) -> TrackScores | Failure | None:
        """Recall the result of a file that nobody touched, by a look at the file system."""
        if self._only_keeps:
            return None
        identity = _identify(path)
        if identity is None:
            return None
        stored = self._ask(lambda store: store.find_by_file(_name(path), identity, self.settings_number))
        return self._restore(path, identity, stored)

    def recall(self, path: Path) -> TrackScores | Failure | Ticket | None:
        """Recall a result by the audio bytes, or claim them.

        Returns
        -------
        TrackScores, Failure, Ticket or None
            None when the file cannot be read: then there is nothing to remember of it either.
        """
        identity = None if self._store is None else _identify(path)
        if identity is None:
            return None
        try:
            sha256 = hash_payload(path)
        except MetadataError:
            self._ask(lambda store: store.forget_file(_name(path)))
            return None
        if sha256 == _SHA256_OF_NOTHING:
            return None
        return self.recall_again(Ticket(path=path, identity=identity, sha256=sha256, is_claimed=False))

    def recall_again(self, ticket: Ticket) -> TrackScores | Failure | Ticket | None:
        """Recall what another thread or process has meanwhile kept, or claim it; as `recall`."""
        if self._only_keeps:  # another's work would be of no use here
            return replace(ticket, is_claimed=True)
        result = self._recall_by_payload(ticket)
        if result is not None:
            return result
        is_claimed = self._ask(lambda store: store.claim(ticket.sha256, self.settings_number))
        if is_claimed:
            with self._lock:
                self._claimed.add(ticket.sha256)
            result = self._recall_by_payload(ticket)  # another may have kept it just before the claim
        if result is not None:
            self._release(ticket.sha256)
            return result
        return None if is_claimed is None else replace(ticket, is_claimed=is_claimed)

    def keep(self, ticket: Ticket, result: TrackScores | Failure) -> None:
        """Remember a result, when it says something of the bytes that were claimed; the claim ends either way."""
        now = _identify(ticket.path)
        is_of_file = isinstance(result, Failure) and (result.is_passing or result.code in _FATES_OF_FILES)
        if now is None or not now.has_same_content(ticket.identity) or is_of_file:
            self._release(ticket.sha256)
            self._ask(lambda store: store.forget_file(_name(ticket.path)))
            return
        with self._lock:
            self._claimed.discard(ticket.sha256)
            if isinstance(result, Failure):
                self._failed_now.add(ticket.sha256)
        self._ask(
            lambda store: store.keep(
                ticket.sha256,
                self.settings_number,
                _describe(result),
                path=_name(ticket.path),
                identity=ticket.identity,
            )
        )

    def give_up(self) -> None:
        """End every claim whose result will not come."""
        for sha256 in list(self._claimed):
            self._release(sha256)

    def note_change(self, path: Path, identity: FileIdentity) -> None:
        """Remember what a file is after its tags, and nothing else, were written."""
        self._ask(lambda store: store.note_change(_name(path), identity))

    def _release(self, sha256: str) -> None:
        """End a claim without a result."""
        with self._lock:
            self._claimed.discard(sha256)
        self._ask(lambda store: store.release(sha256, self.settings_number))

    def _recall_by_payload(self, ticket: Ticket) -> TrackScores | Failure | None:
        """Recall a result by the audio bytes."""
        path, number = _name(ticket.path), self.settings_number
        stored = self._ask(
            lambda store: store.find_by_payload(ticket.sha256, number, path=path, identity=ticket.identity)
        )
        return self._restore(ticket.path, ticket.identity, stored, is_tried=ticket.sha256 in self._failed_now)

    def _restore(
        self, path: Path, identity: FileIdentity, stored: StoredResult | None, *, is_tried: bool = False
    ) -> TrackScores | Failure | None:
        """Make a result of what was stored, unless it is to be tried again."""
        if stored is None:
            return None
        is_failure = stored.scores is None and stored.code != SkipCode.SILENT
        if is_failure and self._retries_failures and not is_tried:
            return None
        try:
            result = _read(stored, path, identity)
        except ValueError as error:
            logger.debug("%s is heard again: %s", path, error)
            return None
        with self._lock:
            self.n_recalled += 1
        return result

    def _ask(self, question: Callable[[Store], Answer]) -> Answer | None:
        """Ask the store, for as long as it works."""
        store = self._store
        if store is None:
            return None
        try:
            return question(store)
        except StoreError as error:
            with self._lock:
                is_first, self._store = self._store is not None, None
            if is_first:
                logger.warning("%s This run goes on without it.", error)
            return None


def _read(stored: StoredResult, path: Path, identity: FileIdentity) -> TrackScores | Failure:
    """Make a result of what was stored.

    Raises
    ------
    ValueError
        When another version stored what this one does not know.
    """
    if stored.scores is not None:
        return TrackScores(
            path=path,
            scores=np.frombuffer(stored.scores, dtype=np.float32),
            n_clips=stored.n_clips,
            duration_seconds=stored.duration_seconds or 0.0,
            identity=identity,
            warnings=tuple(map(WarningCode, stored.warnings)),
        )
    code = stored.code or ""
    return Failure(
        path=path,
        code=SkipCode(code) if code in set(SkipCode) else FailureCode(code),
        message=(stored.message or "").replace(PATH_MARK, str(path)),
        duration_seconds=stored.duration_seconds,
    )


def _describe(result: TrackScores | Failure) -> StoredResult:
    """Make of a result what is stored of it."""
    if isinstance(result, Failure):
        return StoredResult(
            scores=None,
            n_clips=0,
            duration_seconds=result.duration_seconds,
            code=result.code.value,
            message=_mark_path(result.message, str(result.path)).encode(errors="replace").decode(),
        )
    return StoredResult(
        scores=result.scores.tobytes(),
        n_clips=result.n_clips,
        duration_seconds=result.duration_seconds,
        warnings=tuple(warning.value for warning in result.warnings),
    )


def _mark_path(message: str, path: str) -> str:
    """Put the mark in the place of the path that a message begins with; elsewhere a short one may be part of a word."""
    return PATH_MARK + message.removeprefix(path) if message.startswith(path) else message


def _identify(path: Path) -> FileIdentity | None:
    """Look at a file; None when it cannot be looked at."""
    try:
        return FileIdentity.from_status(path.stat())
    except OSError:
        return None


def _name(path: Path) -> bytes:
    """Name a file so that it is the same from every folder; links are kept."""
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100  # Path.absolute keeps ".."
