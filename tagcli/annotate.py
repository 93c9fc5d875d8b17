"""What is stored of a track's tags, and the walk from a row to its file; tags and metadata do not know each other."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagcli.checkpoint import CheckpointHeader
from tagcli.errors import FailureCode, FileBusyError, JournalError, MetadataError, UnsupportedContainerError
from tagcli.files import FileIdentity
from tagcli.journal import Recorder
from tagcli.metadata import Dialect, Fields, Policies, WritePlan, plan_write
from tagcli.metadata.fields import DEFAULT_DIALECT, DEFAULT_POLICIES
from tagcli.metadata.sidecar import write_sidecar
from tagcli.results import Head
from tagcli.rows import Row, Status, Written, make_readable
from tagcli.tag_rules import TagRules
from tagcli.tags import Category, ScoredTag

STORED_SCORE = 0.1
"""Least score of a stored tag, as long as a checkpoint brings no calibrated thresholds of its own."""
MAX_GENRES = 3
"""How many genres are offered to a file's genre field, the best ones."""
MAX_MOODS = 3
"""How many moods are offered to its mood field."""
NO_RULES = TagRules()
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
    threshold, thresholds
        Least score of a stored tag; by tag, where the model has them.
    rules
        What is wanted of single tags; their thresholds go before.
    policies, dialect
        What happens to the fields that are not tagcli's own, and how they are written.
    has_sidecars
        Whether the tags of a file that holds none are written beside it.
    keeps_provenance
        Whether model and settings stay as stored where tags and scores do.
    """

    model: str
    settings: str
    threshold: float
    thresholds: Mapping[str, float]
    rules: TagRules
    policies: Policies = DEFAULT_POLICIES
    dialect: Dialect = DEFAULT_DIALECT
    has_sidecars: bool = False
    keeps_provenance: bool = False


def make_policy(
    header: CheckpointHeader,
    sha256: str,
    *,
    clips: str,
    top_n: int,
    threshold: float | None,
    half: bool = False,
    rules: TagRules = NO_RULES,
    policies: Policies = DEFAULT_POLICIES,
    dialect: Dialect = DEFAULT_DIALECT,
    has_sidecars: bool = False,
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
    rules
        What the user wants of single tags.
    policies, dialect, has_sidecars
        See `StorePolicy`.
    """
    is_calibrated = threshold is None and header.thresholds is not None
    default = STORED_SCORE if threshold is None else threshold
    own = zip(header.vocabulary.tags, header.thresholds or (), strict=True) if is_calibrated else ()
    shown = "calibrated" if is_calibrated else f"{default:g}"
    return StorePolicy(
        model=f"{header.name}@{sha256[:_SHA_DIGITS]}",
        settings=f"clips={clips} top={top_n} threshold={shown}{' half' if half else ''}",
        threshold=default,
        thresholds=dict(own),
        rules=rules,
        policies=policies,
        dialect=dialect,
        has_sidecars=has_sidecars,
    )


def make_results_policy(
    head: Head | None,
    source: Path,
    *,
    threshold: float | None,
    rules: TagRules,
    policies: Policies = DEFAULT_POLICIES,
    dialect: Dialect = DEFAULT_DIALECT,
    has_sidecars: bool = False,
) -> StorePolicy:
    """Settle what is stored of the tags in a results file.

    Parameters
    ----------
    head
        Model and settings as the file tells them; None when it does not.
    source
        The file.
    threshold
        As the user chose; None for `STORED_SCORE`.
    rules
        What is wanted of single tags.
    policies, dialect, has_sidecars
        See `StorePolicy`.
    """
    settings = " ".join(f"{name}={_show(value)}" for name, value in head.settings.items()) if head else ""
    return StorePolicy(
        model=f"{head.name}@{head.sha256[:_SHA_DIGITS]}" if head else "",
        settings=f"{settings} from={make_readable(source.name)}".strip(),
        keeps_provenance=True,
        threshold=STORED_SCORE if threshold is None else threshold,
        thresholds={},
        rules=rules,
        policies=policies,
        dialect=dialect,
        has_sidecars=has_sidecars,
    )


def _show(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def make_fields(tags: Sequence[ScoredTag], policy: StorePolicy) -> Fields:
    """Choose what is stored of a track's tags, best first.

    Parameters
    ----------
    tags
        The tags of a row, best first.
    policy
        What is stored.
    """
    by_label: dict[str, ScoredTag] = {}
    for tag in tags:
        if _is_stored(tag, policy):
            renamed = policy.rules.rename(tag)
            by_label.setdefault(renamed.label.casefold(), renamed)
    stored = list(by_label.values())
    return Fields(
        tags=tuple(tag.label for tag in stored),
        scores=tuple(tag.score for tag in stored),
        model=policy.model,
        settings=policy.settings,
        keeps_provenance=policy.keeps_provenance,
        genres=_choose_labels(stored, Category.GENRE)[: 1 if policy.dialect.shows_one else MAX_GENRES],
        moods=_choose_labels(stored, Category.MOOD)[:MAX_MOODS],
        grouping=tuple(tag.label for tag in stored),
        comment=tuple(tag.label for tag in stored),
    )


def _is_stored(tag: ScoredTag, policy: StorePolicy) -> bool:
    rule = policy.rules.find(tag.tag)
    threshold = policy.thresholds.get(tag.tag, policy.threshold) if rule.threshold is None else rule.threshold
    return rule.is_stored and tag.score >= threshold


def _choose_labels(tags: Sequence[ScoredTag], category: Category) -> tuple[str, ...]:
    return tuple(tag.label for tag in tags if tag.category is category)


def store_row(
    row: Row,
    policy: StorePolicy,
    *,
    recorder: Recorder | None,
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
    recorder
        Writes the file; None for a dry run.
    heard
        The file that was scored; another one of its name is not given its tags. None when that is not known.
    on_written
        Told of the file as it is after its tags were written.
    """
    if row.status is not Status.OK:
        return row

    def make_plan() -> WritePlan:
        try:
            fields = make_fields(row.tags, policy)
        except ValueError as error:
            msg = f"The tags of {row.path} cannot be stored: {error}"
            raise MetadataError(msg, path=row.path) from error
        plan = plan_write(row.path, fields, policies=policy.policies, dialect=policy.dialect)
        is_other = heard is not None and not plan.identity.has_same_content(heard)
        if heard is not None and is_other and not plan.is_empty and not _explains(recorder, plan, heard):
            msg = f"{row.path} was changed after it was heard, so nothing is written; run again."
            raise MetadataError(msg, path=row.path)
        return plan

    try:
        try:
            plan, identity = write_patiently(make_plan, recorder)
        except UnsupportedContainerError as error:
            if not policy.has_sidecars:
                return replace(row, written=Written.UNSUPPORTED, message=error.message)
            is_new = write_sidecar(row.path, make_fields(row.tags, policy), is_dry_run=recorder is None)
            return replace(row, written=_tell(is_new, recorder))
        if identity is not None and on_written is not None:
            on_written(row.path, identity)
    except (MetadataError, JournalError) as error:
        return replace(
            row,
            status=Status.FAILED,
            reason=FailureCode.WRITE_FAILED,
            written=Written.FAILED,
            message=error.message,
        )
    written = _tell(not plan.is_empty, recorder)
    if written is Written.PLANNED:
        return replace(row, written=written, changes=plan.changes, fits_padding=plan.fits)
    return replace(row, written=written)


def _explains(recorder: Recorder | None, plan: WritePlan, heard: FileIdentity) -> bool:
    """Tell whether another run of tagcli wrote into a file since it was heard, and nobody else."""
    return recorder is not None and recorder.explains(plan.target, old=heard, new=plan.identity)


def _tell(is_new: bool, recorder: Recorder | None) -> Written:
    if not is_new:
        return Written.UNCHANGED
    return Written.PLANNED if recorder is None else Written.WRITTEN


def write_patiently(
    make_plan: Callable[[], WritePlan], recorder: Recorder | None
) -> tuple[WritePlan, FileIdentity | None]:
    """Plan and write; plan anew for a while as long as another process is at work on the file.

    Parameters
    ----------
    make_plan
        Plans the write.
    recorder
        Writes the file; None for a dry run.

    Returns
    -------
    tuple of WritePlan and FileIdentity or None
        The plan, and the file as it is now; None when nothing was written.

    Raises
    ------
    MetadataError
        When the file cannot be planned for or written, or stays busy.
    JournalError
        When the write cannot be noted.
    """
    for attempt in range(_BUSY_ATTEMPTS):
        plan = make_plan()
        if recorder is None:
            break
        try:
            versions = recorder.apply(plan)
        except FileBusyError:
            if attempt + 1 == _BUSY_ATTEMPTS:
                raise
            time.sleep(_BUSY_SECONDS)
        else:
            return plan, versions.new if versions else None
    return plan, None
