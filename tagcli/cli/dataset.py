"""The command `dataset`: make a manifest, say what is in a data set, and find what is wrong with it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.options import JobsOption, ListFormat, ListFormatOption
from tagcli.errors import DatasetError, ExitCode

if TYPE_CHECKING:
    from tagcli.datasets import Manifest, TagChoice

logger = logging.getLogger(__name__)

dataset_app = typer.Typer(
    no_args_is_help=True, help="Make data sets to train and evaluate with, and find what is wrong with them."
)

DatasetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET",
        help="A manifest, or a file or folder that `tagcli dataset build` reads.",
        show_default=False,
        readable=False,
    ),
]
AudioOption = Annotated[
    Path | None,
    typer.Option("--audio", metavar="DIR", help="Folder with the audio.", show_default="what the data set says"),
]
_DEFAULT_SPLIT = "0.7,0.15,0.15"
_NO_SPLIT = "none"


@dataset_app.command("build")
def build(
    ctx: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Last.fm's SQLite, a folder of MSD's split files, MagnaTagATune, MTG-Jamendo, CSV, TSV, JSON lines,"
            " a folder with a sub-folder for each tag, or another manifest.",
            show_default=False,
            readable=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.tsv", help="The manifest; FILE.toml goes beside it.")
    ],
    audio: AudioOption = None,
    from_fields: Annotated[
        str | None,
        typer.Option("--from-fields", metavar="genre", help="SOURCE is a music library, tagged by this field."),
    ] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="The N most frequent tags.")] = None,
    tags: Annotated[
        Path | None,
        typer.Option("--tags", metavar="FILE", help="These tags, in this order: one a line, or a list in a .py file."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="TAG|FILE", help="Leave out a tag, or those in a file; repeatable."),
    ] = None,
    synonyms: Annotated[
        Path | None,
        typer.Option("--synonyms", metavar="FILE.toml", help='Merge tags: lines of "tag" = ["other form", ...].'),
    ] = None,
    min_count: Annotated[int, typer.Option("--min-count", min=0, help="Least number of examples of a tag.")] = 0,
    min_artists: Annotated[int, typer.Option("--min-artists", min=0, help="Least number of artists of a tag.")] = 0,
    tagged_only: Annotated[
        bool, typer.Option("--tagged-only", help="Leave out examples that carry none of the tags.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Value that a tag of Last.fm's must be above.", show_default="50"),
    ] = None,
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="SOURCE is a folder of music, of which no tag is known: for --teacher."),
    ] = False,
    labels_column: Annotated[
        str | None,
        typer.Option(
            "--labels-column", metavar="NAME", help="A table's column with the tags.", show_default="labels, tags, tag"
        ),
    ] = None,
    path_template: Annotated[
        str | None,
        typer.Option(
            "--path-template",
            metavar="PATH",
            help="Where MSD's previews lie: {track_id} {A} {B} {C} its letters behind TR, {id7} {a} {b} its digits.",
            show_default="{a}/{b}/{id7}.clip.mp3, or {A}/{B}/{C}/{track_id}.mp3",
        ),
    ] = None,
    split_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--split-file", metavar="FILE", help="Identifiers or paths of a split; its name says which; repeatable."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="A,B,C",
            help="Shares of train, validation and test, no artist in two; or none.",
            show_default=f"the source's, or {_DEFAULT_SPLIT}",
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", metavar="N", help="N equal folds in place of splits, no artist in two.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which of equally good splits.")] = 0,
) -> None:
    """Make a manifest of a data set: choose its tags, and split it.

    Example: tagcli dataset build ~/tracks.csv -o tracks.tsv --top 50 --min-artists 5
    """
    from tagcli.cli.dataset_display import print_counts
    from tagcli.datasets import open_dataset
    from tagcli.datasets.manifest_file import write_manifest
    from tagcli.datasets.summary import summarise

    if from_fields not in (None, "genre"):
        msg = f"{from_fields!r} is no field that tags are taken from; say --from-fields genre."
        raise typer.BadParameter(msg)
    if folds is not None and split is not None:
        msg = "--folds and --split exclude each other."
        raise typer.BadParameter(msg)
    if unlabelled and not source.is_dir():
        msg = f"--unlabelled takes a folder of music, and {source} is none."
        raise typer.BadParameter(msg)
    about_tags = {
        "--from-fields": from_fields,
        "--top": top,
        "--tags": tags,
        "--exclude": exclude,
        "--synonyms": synonyms,
        "--min-count": min_count,
        "--min-artists": min_artists,
        "--tagged-only": tagged_only,
        "--labels-column": labels_column,
        "--threshold": threshold is not None,
    }
    if unlabelled and (given := [name for name, value in about_tags.items() if value]):
        msg = f"--unlabelled leaves every tag away, and {given[0]} is about tags; take one of them."
        raise typer.BadParameter(msg)
    _check_output(output, source)
    choice = _make_choice(
        tags=tags,
        top=top,
        exclude=exclude or [],
        synonyms=synonyms,
        min_count=min_count,
        min_artists=min_artists,
        tagged_only=tagged_only,
    )
    manifest = open_dataset(
        source,
        root=audio,
        choice=choice,
        from_fields="genre" if from_fields else None,
        wants_labels=not unlabelled,
        labels_column=labels_column,
        path_template=path_template,
        threshold=threshold,
        split_files=split_files or (),
    )
    if not manifest.tags and not unlabelled:
        msg = f"{source} has no tags; name the column that has them with --labels-column, or take another source."
        raise DatasetError(msg, path=source)
    manifest = _split(manifest, split=split, folds=folds, seed=seed)
    n_absent = sum(not (manifest.root / path).exists() for path in set(manifest.paths))
    if n_absent:
        n_files = len(set(manifest.paths))
        logger.warning("%d of %d files are not in %s; --audio names the folder.", n_absent, n_files, manifest.root)
    write_manifest(manifest, output)
    if not ctx.obj:
        print_counts(summarise(manifest), output)


@dataset_app.command("info")
def info(dataset: DatasetArgument, audio: AudioOption = None, format_: ListFormatOption = ListFormat.TABLE) -> None:
    """Say what is in a data set: examples, artists, hours and tags, by split.

    Example: tagcli dataset info tracks.tsv --format json
    """
    from tagcli.cli.dataset_display import print_summary
    from tagcli.datasets import open_dataset
    from tagcli.datasets.summary import summarise

    print_summary(summarise(open_dataset(dataset, root=audio)), format_)


@dataset_app.command("check")
def check(
    ctx: typer.Context,
    dataset: DatasetArgument,
    audio: AudioOption = None,
    decode: Annotated[
        bool, typer.Option("--decode/--no-decode", help="Decode every excerpt, or only look for the files.")
    ] = True,
    jobs: JobsOption = None,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Find what is wrong with a data set.

    Files that are missing, empty or cannot be decoded, and excerpts behind their end: then the exit code is 3. Files of
    the same audio, artists in several splits, and tags without positives are told, too.

    Example: tagcli dataset check tracks.tsv --format json
    """
    from tagcli.cli.dataset_display import Findings, open_bar
    from tagcli.datasets import open_dataset
    from tagcli.datasets.check import check_dataset

    manifest = open_dataset(dataset, root=audio)
    findings = Findings(manifest, format_)
    with open_bar(len(set(manifest.paths)), is_shown=not ctx.obj) as bar:
        for finding in check_dataset(manifest, decodes=decode, n_workers=jobs, on_file=bar.update):
            findings.add(finding)
    findings.end()
    if findings.n_failures:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _make_choice(
    *,
    tags: Path | None,
    top: int | None,
    exclude: list[str],
    synonyms: Path | None,
    min_count: int,
    min_artists: int,
    tagged_only: bool,
) -> "TagChoice":
    from tagcli.datasets import TagChoice
    from tagcli.datasets.choice import read_synonyms
    from tagcli.datasets.text_files import read_tag_list

    if tags is not None and top is not None:
        msg = "--tags and --top exclude each other."
        raise typer.BadParameter(msg)
    excluded: set[str] = set()
    for name in exclude:
        path = Path(name)
        excluded.update(read_tag_list(path) if path.is_file() else [name])
    return TagChoice(
        tags=None if tags is None else read_tag_list(tags),
        top=top,
        exclude=frozenset(tag.casefold() for tag in excluded),
        synonyms={} if synonyms is None else read_synonyms(synonyms),
        min_count=min_count,
        min_artists=min_artists,
        drops_untagged=tagged_only,
    )


def _split(manifest: "Manifest", *, split: str | None, folds: int | None, seed: int) -> "Manifest":
    """Make the splits that are asked for, or that the source does not have."""
    from dataclasses import replace

    from tagcli.datasets.splits import make_folds, make_splits

    if folds is not None:
        return make_folds(manifest, folds, seed=seed)
    if split == _NO_SPLIT:
        return replace(manifest, splits=("",) * len(manifest))
    if split is None and any(manifest.splits):
        return manifest
    try:
        train, validation, test = (float(share) for share in (split or _DEFAULT_SPLIT).split(","))
    except ValueError as error:
        msg = f"{split!r} is no split; give three shares such as 0.8,0.1,0.1, or none."
        raise typer.BadParameter(msg) from error
    return make_splits(manifest, proportions=(train, validation, test), seed=seed)


def _check_output(output: Path, source: Path) -> None:
    """Refuse to write over the source, or over a TOML file that is about something else."""
    if output.suffix != ".tsv":
        msg = f"{output} is no name of a manifest; end it with .tsv."
        raise DatasetError(msg, path=output)
    if output.exists() and source.exists() and output.samefile(source):
        msg = f"{output} is the source itself; write the manifest into another file."
        raise DatasetError(msg, path=output)
    beside = output.with_suffix(".toml")
    if beside.exists() and "format_version" not in beside.read_text(encoding="utf-8", errors="replace"):
        msg = f"{beside} is there and is no manifest's description, which would take its place; choose another name."
        raise DatasetError(msg, path=beside)
