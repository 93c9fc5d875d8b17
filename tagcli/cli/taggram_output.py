"""What `taggram` heard, printed: a table of the tags, or the scores of each clip as CSV or JSON."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tagcli.cli.evaluation_tables import print_table
from tagcli.cli.options import EvaluationFormat
from tagcli.cli.output import make_printable
from tagcli.errors import MetadataError
from tagcli.figures.taggram_scales import format_time, has_hours
from tagcli.metadata.user_values import read_user_values
from tagcli.results import FORMAT_VERSION
from tagcli.rows import SCORE_DECIMALS, Row, Status, describe_path, make_readable
from tagcli.tagger.taggram import Taggram


def name_track(path: Path) -> str:
    """Give artist and title of a track as its metadata have them, else the name of its file; printable."""
    try:
        values = read_user_values(path)
    except MetadataError:
        names = []
    else:
        names = [values.artist, values.title] if values.title else []
    return make_printable(make_readable(" - ".join(filter(None, names)) or path.name))


def describe_clips(taggram: Taggram) -> str:
    """Tell in a caption what was listened to."""
    return f"clips of {taggram.clip_seconds:g} s, {taggram.hop_seconds:g} s apart"


def print_taggram(
    taggram: Taggram, format_: EvaluationFormat, stream: TextIO, *, title: str, model: Mapping[str, str]
) -> None:
    """Print scores over time.

    Parameters
    ----------
    taggram
        What was heard.
    format_
        How.
    stream
        Where it goes.
    title
        Of the track.
    model
        Name and SHA-256 of the checkpoint.
    """
    if format_ is EvaluationFormat.TABLE:
        _print_table(taggram, stream, title=title, model=model["name"])
    elif format_ is EvaluationFormat.CSV:
        path = describe_path(taggram.path)["path"]
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "start_seconds", *taggram.tags])
        for start, scores in zip(taggram.starts_seconds, taggram.scores, strict=True):
            writer.writerow([path, f"{start:.3f}", *(f"{score:.{SCORE_DECIMALS}f}" for score in scores)])
    else:
        row = Row(
            path=taggram.path,
            status=Status.OK,
            warnings=taggram.warnings,
            duration_seconds=taggram.duration_seconds,
            n_clips=len(taggram.scores),
        )
        _print_document(_describe_row(row, taggram), _describe(taggram), stream, title=title, model=model)


def print_nothing_heard(row: Row, format_: EvaluationFormat, stream: TextIO, *, model: Mapping[str, str]) -> None:
    """Print that there are no scores; a table says nothing, as the reason is told on the other stream."""
    if format_ is EvaluationFormat.CSV:
        csv.writer(stream, lineterminator="\n").writerow(["path", "start_seconds"])
    elif format_ is EvaluationFormat.JSON:
        _print_document(row.to_dict(), None, stream, title=None, model=model)


def _print_table(taggram: Taggram, stream: TextIO, *, title: str, model: str) -> None:
    is_long = has_hours(taggram.duration_seconds)
    rows = []
    for tag, mean, scores in zip(taggram.tags, taggram.means, taggram.scores.T, strict=True):
        best = int(scores.argmax())
        at = format_time(taggram.edges_seconds[best], has_hours=is_long)
        rows.append([tag, f"{mean:.4f}", f"{scores[best]:.4f}", at])
    length = format_time(taggram.duration_seconds, has_hours=is_long)
    heard = f"{title} ({length}): {len(taggram.scores)} {describe_clips(taggram)}, by {model}"
    warnings = ", ".join(taggram.warnings)
    captions = [f"warnings: {warnings}"] if warnings else []
    print_table(stream, heard, ["tag", "mean score", "highest", "at"], rows, captions=captions)


def _print_document(
    row: Mapping[str, Any],
    taggram: Mapping[str, Any] | None,
    stream: TextIO,
    *,
    title: str | None,
    model: Mapping[str, str],
) -> None:
    document = {"format_version": FORMAT_VERSION, "model": model, "track": row, "title": title, "taggram": taggram}
    json.dump(document, stream, ensure_ascii=False)
    stream.write("\n")


def _describe_row(row: Row, taggram: Taggram) -> dict[str, Any]:
    means = zip(taggram.tags, taggram.means.tolist(), strict=True)
    return row.to_dict() | {"tags": [{"tag": tag, "score": round(mean, SCORE_DECIMALS)} for tag, mean in means]}


def _describe(taggram: Taggram) -> dict[str, Any]:
    return {
        "clip_seconds": taggram.clip_seconds,
        "hop_seconds": taggram.hop_seconds,
        "tags": taggram.tags,
        "start_seconds": [round(start, 3) for start in taggram.starts_seconds.tolist()],
        "scores": [[round(score, SCORE_DECIMALS) for score in scores] for scores in taggram.scores.tolist()],
    }
