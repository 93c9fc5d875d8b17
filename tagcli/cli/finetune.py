"""The command `finetune`: go on learning from weights that know something already."""

from typing import Annotated

import typer

from tagcli.cli.options import DeviceOption, ListFormat, ListFormatOption
from tagcli.cli.train import (
    AudioOption,
    BoardOption,
    DatasetArgument,
    EpochsOption,
    RecipeOption,
    ResumeOption,
    RunOption,
    SeedOption,
    SetOption,
    WorkersOption,
    add_defaults,
    compose_recipe,
    follow_training,
    is_begun,
    name_recipe,
)


def finetune(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Weights to begin with, as for `predict --model`.")],
    dataset: DatasetArgument,
    out: RunOption,
    freeze: Annotated[
        int | None, typer.Option("--freeze", metavar="K", min=0, help="Leave the first K blocks as they are.")
    ] = None,
    config: RecipeOption = None,
    settings: SetOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    resume: ResumeOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Keep the new weights even when they are worse on the hold-out.")
    ] = False,
    audio: AudioOption = None,
    device: DeviceOption = "auto",
    jobs: WorkersOption = None,
    tensorboard: BoardOption = False,
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Adapt weights to your own tags. Tags that NAME knows keep what it knows of them; others are learned anew.

    A data set without splits is split so that no artist is in two of them. In the end the weights before and after are
    compared on the hold-out; new ones that are worse are put aside.

    Example: tagcli finetune won2020-msd-fcn ~/corrected.csv --out runs/mine --freeze 3
    """
    overrides = {
        "transfer.n_frozen_blocks": freeze,
        "optimisation.epochs": epochs,
        "optimisation.seed": seed,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    from tagcli.training.beginning import FINETUNE_DEFAULTS
    from tagcli.weights.catalogue import find_weights

    document = compose_recipe(config, settings, given, goes_on=resume and is_begun(out))
    follow_training(
        ctx,
        dataset,
        out,
        document=None if document is None else add_defaults(document, FINETUNE_DEFAULTS),
        place=name_recipe(config),
        resumes=resume,
        audio=audio,
        device=device,
        jobs=jobs,
        tensorboard=tensorboard,
        format_=format_,
        source=find_weights(name),
        keeps_worse=force,
    )
