"""The command `train`: learn tags from a data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagcli.cli.options import DeviceOption, ListFormat, ListFormatOption
from tagcli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

DatasetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET",
        help="A manifest of `tagcli dataset build`, or a folder, table or published data set that it reads directly.",
        show_default=False,
    ),
]
RunOption = Annotated[
    Path, typer.Option("--out", metavar="RUN", help="Folder of the run: checkpoint, state, recipe, log.")
]
AudioOption = Annotated[
    Path | None, typer.Option("--audio", metavar="DIR", help="Folder that the paths of the data set are in.")
]
RecipeOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="The recipe, as far as it is not the default."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TABLE.KEY=VALUE",
        help="One entry of the recipe, such as optimisation.learning_rate=3e-4; repeatable.",
    ),
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", min=1, help="How often every example is seen, at most.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Of everything that is random.")]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Go on where the run stopped; begin where there is nothing yet."),
]
WorkersOption = Annotated[
    int | None, typer.Option("-j", "--jobs", min=1, help="Threads that decode.", show_default="one for each core")
]
BoardOption = Annotated[bool, typer.Option("--tensorboard", help="Write RUN/tensorboard, too (needs the extra).")]


def train(
    ctx: typer.Context,
    dataset: DatasetArgument,
    out: RunOption,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="ARCH", help="compact, fcn, crnn, musicnn or choi2016-crnn.", show_default="compact"
        ),
    ] = None,
    front_end: Annotated[
        str | None,
        typer.Option(
            "--front-end", metavar="NAME", help="mel96-12k or mel96-16k.", show_default="the one of the architecture"
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="NAME[,NAME]",
            help="Learn what these weights say of the music, not its labels; it needs none.",
        ),
    ] = None,
    config: RecipeOption = None,
    settings: SetOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    resume: ResumeOption = False,
    audio: AudioOption = None,
    device: DeviceOption = "auto",
    jobs: WorkersOption = None,
    tensorboard: BoardOption = False,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Train a tagger from scratch. RUN is then a name for --model everywhere.

    With --teacher, DATASET may be any folder of music: what the teachers say of it is learned.

    Example: tagcli train set.tsv --out runs/first --epochs 40
    """
    overrides = {
        "model.architecture": model,
        "front_end.name": front_end,
        "optimisation.epochs": epochs,
        "optimisation.seed": seed,
        "teaching.teachers": [name.strip() for name in teacher.split(",")] if teacher is not None else None,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    from tagcli.training.beginning import TEACHING_DEFAULTS
    from tagcli.training.recipe_document import list_teachers

    place = name_recipe(config)
    document = compose_recipe(config, settings, given, goes_on=resume and is_begun(out))
    if document is not None and list_teachers(document, place):
        document = add_defaults(document, TEACHING_DEFAULTS)
    follow_training(
        ctx,
        dataset,
        out,
        document=document,
        place=place,
        resumes=resume,
        audio=audio,
        device=device,
        jobs=jobs,
        tensorboard=tensorboard,
        format_=format_,
    )


def is_begun(out: Path) -> bool:
    """Tell whether a folder holds a training."""
    from tagcli.training.run_folder import RunFolder

    return RunFolder(out).has_begun


def name_recipe(config: Path | None) -> str:
    """Say what the recipe is, for messages."""
    return f"The recipe {config}" if config else "The recipe"


def compose_recipe(
    config: Path | None, settings: list[str] | None, given: "Mapping[str, Any]", *, goes_on: bool
) -> dict[str, Any] | None:
    """Join the recipe of a file with what the command line says; None for the run's own."""
    if goes_on and not (config or settings or given):
        return None
    from tagcli.training.recipe_document import change_document, read_document

    document = read_document(config) if config else {}
    for setting in settings or ():
        try:
            document = change_document(document, setting)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--set") from error
    for key, value in given.items():
        table, _, name = key.partition(".")
        document = {**document, table: {**document.get(table, {}), name: value}}
    return document


def add_defaults(document: dict[str, Any], defaults: "Mapping[str, Mapping[str, Any]]") -> dict[str, Any]:
    """Complete the tables of a recipe; what is no table is left to be refused."""
    tables = {name: document.get(name, {}) for name in defaults}
    completed = {name: {**defaults[name], **table} for name, table in tables.items() if isinstance(table, dict)}
    return {**document, **completed}


def follow_training(
    ctx: typer.Context,
    dataset: Path,
    out: Path,
    *,
    document: dict[str, Any] | None,
    place: str,
    resumes: bool,
    audio: Path | None,
    device: str,
    jobs: int | None,
    tensorboard: bool,
    format_: ListFormat,
    source: Path | None = None,
    keeps_worse: bool = False,
) -> None:
    """Train, tell how it goes, and print what came of it."""
    from tagcli.audio.quiet import quiet_decoders
    from tagcli.cli.training_display import TrainingDisplay
    from tagcli.training.examples import open_split_dataset
    from tagcli.training.recipe_document import list_teachers, read_document
    from tagcli.training.run_folder import RunFolder
    from tagcli.training.session import run_training

    followed = read_document(RunFolder(out).config) if document is None else document
    manifest = open_split_dataset(
        dataset,
        root=audio,
        folder=out,
        resumes=resumes,
        document=document,
        wants_labels=not list_teachers(followed, place),
    )
    with (
        quiet_decoders(),
        _tell_of_resuming(out),
        TrainingDisplay(out, is_quiet=bool(ctx.obj), with_board=tensorboard) as display,
    ):
        for report in run_training(
            manifest,
            document,
            place=place,
            folder=out,
            resumes=resumes,
            device_name=device,
            source=source,
            keeps_worse=keeps_worse,
            n_workers=jobs,
        ):
            display.show(report)
    display.print_result(format_)
    if display.is_rejected:
        raise typer.Exit(ExitCode.ERROR)


@contextmanager
def _tell_of_resuming(out: Path) -> Iterator[None]:
    """Say, when it is interrupted, how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"tagcli: Interrupted; --resume goes on with {out}.", err=True)
        raise
