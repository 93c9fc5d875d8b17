"""One row of results, as the program prints it and the library yields it."""

import base64
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagcli.errors import FailureCode, SkipCode, WarningCode
from tagcli.tags import Category, Failure, ScoredTag, TrackScores, Vocabulary, select_tags

if TYPE_CHECKING:
    from tagcli.metadata import FieldChange

SCORE_DECIMALS = 6


class Status(StrEnum):
    """What became of a track."""

    OK = "ok"
    SKIPPED = "skipped"
    FAILED = "failed"


class Written(StrEnum):
    """What became of its file."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    PLANNED = "planned"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is told about one track.

    Parameters
    ----------
    path
        The track.
    status, reason, message
        Done, passed over or failed; the code and the sentence why.
    warnings
        What was wrong with a track that was tagged all the same.
    duration_seconds, n_clips
        Length of the decoded track, and how many clips of it were heard.
    tags
        Best first.
    written
        What became of the file; None when nothing was to be written.
    changes, fits_padding
        Of a dry run: the fields that would change, and whether they fit into the padding of the file, so that it keeps
        its size.
    """

    path: Path
    status: Status
    reason: FailureCode | SkipCode | None = None
    message: str | None = None
    warnings: tuple[WarningCode, ...] = ()
    duration_seconds: float | None = None
    n_clips: int = 0
    tags: tuple[ScoredTag, ...] = ()
    written: Written | None = None
    changes: "tuple[FieldChange, ...]" = ()
    fits_padding: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the row in the schema of ``--format json`` and ``jsonl``."""
        fields: dict[str, Any] = describe_path(self.path)
        fields |= {
            "status": self.status.value,
            "reason": self.reason.value if self.reason else None,
            "message": None if self.message is None else make_readable(self.message),
            "warnings": [warning.value for warning in self.warnings],
            "duration_seconds": None if self.duration_seconds is None else round(self.duration_seconds, 3),
            "n_clips": self.n_clips,
            "tags": [{"tag": tag.tag, "score": round(tag.score, SCORE_DECIMALS)} for tag in self.tags],
            "written": self.written.value if self.written else None,
        }
        if self.changes:
            fields["changes"] = describe_changes(self.changes)
            fields["fits_padding"] = self.fits_padding
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Row":
        """Make the row of what `to_dict` gave.

        It does not tell the label and the category of a tag: the tag itself and `Category.OTHER` stand for them. What a
        dry run planned is left out.

        Raises
        ------
        ValueError
            When it is no such row; the text says why.
        """
        if wrong := (fields.keys() - _MORE_KEYS) ^ _KEYS:
            msg = f"{min(wrong)!r:.60} is missing or unknown"
            raise ValueError(msg)
        duration = fields["duration_seconds"]
        return cls(
            path=_read_path(fields),
            status=Status(fields["status"]),
            reason=None if fields["reason"] is None else _read_reason(fields["reason"]),
            message=None if fields["message"] is None else _read_text("message", fields["message"]),
            warnings=tuple(WarningCode(code) for code in _read_list("warnings", fields["warnings"])),
            duration_seconds=None if duration is None else _read_number("duration_seconds", duration),
            n_clips=_read_count("n_clips", fields["n_clips"]),
            tags=tuple(_read_tag(tag) for tag in _read_list("tags", fields["tags"])),
            written=None if fields["written"] is None else Written(fields["written"]),
        )


def make_row(
    result: TrackScores | Failure,
    vocabulary: Vocabulary,
    *,
    top_n: int,
    thresholds: float | Sequence[float],
) -> Row:
    """Turn a result into a row; see `tagcli.tags.select_tags` for the choice of tags."""
    if isinstance(result, Failure):
        return Row(
            path=result.path,
            status=Status.SKIPPED if isinstance(result.code, SkipCode) else Status.FAILED,
            reason=result.code,
            message=result.message,
            duration_seconds=result.duration_seconds,
        )
    return Row(
        path=result.path,
        status=Status.OK,
        warnings=result.warnings,
        duration_seconds=result.duration_seconds,
        n_clips=result.n_clips,
        tags=tuple(select_tags(result.scores, vocabulary, top_n=top_n, thresholds=thresholds)),
    )


def describe_path(path: Path) -> dict[str, str]:
    """Give a path as text; a name that is not UTF-8 gets replacement characters, and its bytes in base64 beside it."""
    raw = os.fsencode(path)
    try:
        return {"path": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": make_readable(str(path)), "path_b64": base64.b64encode(raw).decode("ascii")}


def describe_changes(changes: "Sequence[FieldChange]") -> list[dict[str, Any]]:
    """Give changes of fields as data."""
    return [
        {
            "field": change.field.value,
            "name": change.name,
            "old": [make_readable(value) for value in change.old],
            "new": [make_readable(value) for value in change.new],
        }
        for change in changes
    ]


def make_readable(text: str) -> str:
    """Put replacement characters where a text names a file whose name is not UTF-8, so that it can be printed."""
    return os.fsencode(text).decode("utf-8", errors="replace")


# What a results file says, checked before it is believed


def _read_path(fields: dict[str, Any]) -> Path:
    """Give the path of a row, from its bytes where they are told."""
    raw = _read_text("path", fields["path"]).encode("utf-8")
    if "path_b64" in fields:
        raw = base64.b64decode(_read_text("path_b64", fields["path_b64"]), validate=True)
    if not raw or b"\0" in raw:
        msg = f"no file has the path {raw!r:.60}"
        raise ValueError(msg)
    return Path(os.fsdecode(raw))


def _read_reason(value: Any) -> FailureCode | SkipCode:
    """Give the code of a reason."""
    with suppress(ValueError):
        return SkipCode(value)
    return FailureCode(value)


def _read_tag(value: Any) -> ScoredTag:
    """Give a tag; rows of one model share its text, as there may be millions."""
    if not isinstance(value, dict) or value.keys() != {"tag", "score"}:
        msg = f"{value!r:.60} is no tag with its score"
        raise ValueError(msg)
    tag = sys.intern(_read_text("tag", value["tag"]))
    return ScoredTag(tag=tag, score=_read_number("score", value["score"], most=1.0), label=tag, category=Category.OTHER)


def _read_text(name: str, value: Any) -> str:
    """Give a text that can be written again; JSON can spell halves of characters, which UTF-8 cannot."""
    with suppress(UnicodeEncodeError):
        if isinstance(value, str):
            value.encode("utf-8")
            return value
    msg = f"{name} is {value!r:.60}, which is no text"
    raise ValueError(msg)


def _read_number(name: str, value: Any, *, most: float = sys.float_info.max) -> float:
    """Give a number from 0 to `most`."""
    if type(value) in (int, float) and 0 <= value <= most:
        return float(value)
    msg = f"{name} is {value!r:.60}, which is no number from 0 to {most:g}"
    raise ValueError(msg)


def _read_count(name: str, value: Any) -> int:
    """Give a whole number from 0 up."""
    if type(value) is int and value >= 0:
        return value
    msg = f"{name} is {value!r:.60}, which is no number of things"
    raise ValueError(msg)


def _read_list(name: str, value: Any) -> list[Any]:
    """Give a list."""
    if isinstance(value, list):
        return value
    msg = f"{name} is {value!r:.60}, which is no list"
    raise ValueError(msg)


_MORE_KEYS = frozenset({"path_b64", "changes", "fits_padding"})
_KEYS = frozenset(Row(path=Path(), status=Status.OK).to_dict())
