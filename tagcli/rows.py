"""One row of results, as the program prints it and the library yields it."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tagcli.errors import FailureCode, SkipCode, WarningCode
from tagcli.tags import Failure, ScoredTag, TrackScores, Vocabulary, select_tags

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
        return fields


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


def make_readable(text: str) -> str:
    """Put replacement characters where a text names a file whose name is not UTF-8, so that it can be printed."""
    return os.fsencode(text).decode("utf-8", errors="replace")
