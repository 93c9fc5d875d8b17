"""What is stored of a track's tags, and the walk from a row to its file; tags and metadata do not know each other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagcli.checkpoint import CheckpointHeader
from tagcli.errors import FailureCode, FileBusyError, MetadataError, UnsupportedContainerError
from tagcli.files import FileIdentity
from tagcli.metadata import Fields, GenrePolicy, WritePlan, apply_plan, plan_write
from tagcli.rows import Row, Status, Written
from tagcli.tags import Category, ScoredTag

STORED_SCORE = 0.1
"""Least score of a stored tag, as long as a checkpoint brings no calibrated thresholds of its own."""
MAX_GENRES = 3
"""How many genres are offered to a file's genre field, the best ones."""
_SHA_DIGITS = 12
_BUSY_ATTEMPTS = 20
_BUSY_SECONDS = 0.1  # between attempts: another run writes the same tags, most likely, and there is then nothing to do


@dataclass(frozen=True, kw_only=True)
class StorePolicy:
    """What is stored, and how.

    Parameters
    ----------
    model, settings
        Provenance, as it is stored beside the tags.
    thresholds
        Least score of a stored tag, by tag.
    genre
        What happens to a file's genre.
    is_dry_run
        Whether files are left untouched and only the plan is made.
    """

    model: str
    settings: str
    thresholds: dict[str, float]
    genre: GenrePolicy
    is_dry_run: bool


def make_policy(
    header: CheckpointHeader,
    sha256: str,
    *,
    clips: str,
    top_n: int,
    threshold: float | None,
    genre: GenrePolicy = GenrePolicy.FILL,
    half: bool = False,
    is_dry_run: bool = False,
) -> StorePolicy:
    """Settle what is stored of a model's tags.

    Parameters
    ----------
    header, sha256
        Of the checkpoint.
    clips, top_n, half
        As the user chose; stored as provenance.
    threshold
        As the user chose; None for the checkpoint's own, or `STORED_SCORE` when it has none.
    genre, is_dry_run
        See `StorePolicy`.
    """
    tags = header.vocabulary.tags
    if threshold is not None:
        values: Sequence[float] = [threshold] * len(tags)
    else:
        values = header.thresholds or [STORED_SCORE] * len(tags)
    is_calibrated = threshold is None and header.thresholds is not None
    shown = "calibrated" if is_calibrated else f"{values[0]:g}"
    return StorePolicy(
        model=f"{header.name}@{sha256[:_SHA_DIGITS]}",
        settings=f"clips={clips} top={top_n} threshold={shown}{' half' if half else ''}",
        thresholds=dict(zip(tags, values, strict=True)),
        genre=genre,
        is_dry_run=is_dry_run,
    )


def make_fields(tags: Sequence[ScoredTag], policy: StorePolicy) -> Fields:
    """Choose what is stored of a track's tags, best first.

    Parameters
    ----------
    tags
        The tags of a row, best first.
    policy
        What is stored.
    """
    stored = [tag for tag in tags if tag.score >= policy.thresholds[tag.tag]]
    return Fields(
        tags=tuple(tag.label for tag in stored),
        scores=tuple(tag.score for tag in stored),
        model=policy.model,
        settings=policy.settings,
        genres=tuple(tag.label for tag in stored if tag.category is Category.GENRE)[:MAX_GENRES],
    )


def store_row(
    row: Row,
    policy: StorePolicy,
    *,
    heard: FileIdentity | None,
    on_written: Callable[[Path, FileIdentity], None] | None = None,
) -> Row:
    """Write a row's tags into its file, or plan to; the row tells what became of it.

    A file that cannot be written keeps every byte, and its row tells the reason; nothing is raised for it.

    Parameters
    ----------
    row
        A row; one without tags of its own (skipped, failed) is given back as it is.
    policy
        What is stored, and how.
    heard
        The file that was scored; another one of its name is not given its tags. None when that is not known.
    on_written
        Told of the file as it is after its tags were written.
    """
    if row.status is not Status.OK:
        return row
    try:
        plan, identity = _write_patiently(row, policy, heard=heard)
        if identity is not None and on_written is not None:
            on_written(row.path, identity)
    except UnsupportedContainerError as error:
        return replace(row, written=Written.UNSUPPORTED, message=error.message)
    except MetadataError as error:
        return replace(
            row,
            status=Status.FAILED,
            reason=FailureCode.WRITE_FAILED,
            written=Written.FAILED,
            message=error.message,
        )
    if plan.is_empty:
        return replace(row, written=Written.UNCHANGED)
    return replace(row, written=Written.PLANNED if policy.is_dry_run else Written.WRITTEN)


def _write_patiently(
    row: Row, policy: StorePolicy, *, heard: FileIdentity | None
) -> tuple[WritePlan, FileIdentity | None]:
    """Plan and write; plan anew for a while as long as another process is at work on the file.

    Raises
    ------
    MetadataError
        When the file cannot be written, was changed after it was heard, or stays busy.
    """
    for attempt in range(_BUSY_ATTEMPTS):
        plan = plan_write(row.path, make_fields(row.tags, policy), genre=policy.genre)
        if not plan.is_empty and heard is not None and not plan.identity.has_same_content(heard):
            msg = f"{row.path} was changed after it was heard, so nothing is written; run again."
            raise MetadataError(msg, path=row.path)
        if policy.is_dry_run:
            break
        try:
            return plan, apply_plan(plan)
        except FileBusyError:
            if attempt + 1 == _BUSY_ATTEMPTS:
                raise
            time.sleep(_BUSY_SECONDS)
    return plan, None
