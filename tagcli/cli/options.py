"""Options that more than one command takes, and their meaning to the user."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps; never replaced silently.")
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
ListFormatOption = Annotated[ListFormat, typer.Option("--format", help="Lines to read, or JSON to process.")]
