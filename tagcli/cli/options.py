"""Options that more than one command takes, and their meaning to the user."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tagcli.metadata.fields import FieldPolicy
from tagcli.metadata.players import Player


class ResultFormat(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class ListFormat(StrEnum):
    """How facts are printed."""

    TABLE = "table"
    JSON = "json"


class EvaluationFormat(StrEnum):
    """How an evaluation is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Id3Version(StrEnum):
    """Version of a new ID3v2 tag."""

    V23 = "2.3"
    V24 = "2.4"

    @property
    def number(self) -> int:
        """As it stands in the tag: 3 or 4."""
        return int(self.partition(".")[2])


def _check_device(name: str) -> str:
    """Refuse what is no device anywhere, before any is needed: remembered scores need none."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        msg = f"{name!r} is not a device; use auto, cpu, cuda, cuda:N or mps."
        raise typer.BadParameter(msg)
    return name


PathsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Audio files, and folders to search.", show_default=False, readable=False),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME",
        help="Weights: a name of `tagcli weights list`, a .safetensors file, or a training run's folder.",
        show_default="the bundled default",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        callback=_check_device,
        help="auto, cpu, cuda, cuda:N or mps; never replaced silently.",
    ),
]
JobsOption = Annotated[
    int | None, typer.Option("-j", "--jobs", min=1, help="Tracks in work at a time.", show_default="one for each core")
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Leave out what is found in a folder when its name, or its path below the folder, matches; repeatable.",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Take share I of N, the same on each run: one machine of several. `tagcli merge` joins the results.",
        show_default="all tracks",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would be written, old and new, and touch nothing.")
]
GenreOption = Annotated[
    FieldPolicy, typer.Option("--genre", help="Fill the genre field where it is empty, add to it, replace it, or not.")
]
MoodOption = Annotated[FieldPolicy, typer.Option("--mood", help="The same for the mood field.")]
GroupingOption = Annotated[
    FieldPolicy, typer.Option("--grouping", help="The same for the grouping field, with all stored tags.")
]
CommentOption = Annotated[
    FieldPolicy, typer.Option("--comment", help="The same for the comment, with all stored tags in one text.")
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        metavar="FILE.toml",
        help="Labels, categories, thresholds and tags to leave out: `tagcli weights vocabulary NAME`, edited.",
    ),
]
AsOption = Annotated[
    Player | None, typer.Option("--as", help="What this player makes of it, with warnings of what it splits or cuts.")
]
ForOption = Annotated[
    Player | None,
    typer.Option("--for", help="Write as this player reads it: its fields, separators and ID3 version."),
]
Id3VersionOption = Annotated[
    Id3Version | None,
    typer.Option(
        "--id3-version",
        help="Of a tag in an mp3 file that has none; a tag that is there keeps its version.",
        show_default="the player's of --for, or 2.4",
    ),
]
PreserveTimeOption = Annotated[
    bool, typer.Option("--preserve-mtime", help="Files that are written keep their time of modification.")
]
SidecarOption = Annotated[
    bool,
    typer.Option("--sidecar", help="Where a file cannot hold tags, write them beside it, into NAME.tagcli.json."),
]
ListFormatOption = Annotated[ListFormat, typer.Option("--format", help="Lines to read, or JSON to process.")]
