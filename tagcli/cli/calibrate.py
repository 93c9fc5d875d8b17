"""The command `weights calibrate`: batch-norm statistics for weights that were published without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.errors import ExitCode, FailureCode

if TYPE_CHECKING:
    from tagcli.tags import Failure

_TOLD_FAILURES = 30


def calibrate(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Weights that `tagcli weights list` calls uncalibrated, or their file."),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Music of many kinds: a few hundred tracks.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.safetensors",
            help="Where to write.",
            show_default="NAME-calibrated in the weights folder",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, help="Tracks in work.", show_default="one for each core")
    ] = None,
) -> None:
    """Estimate the batch-norm statistics that weights were published without; prints where the result lies.

    The middle clip of every track in FOLDER is listened to. Layer by layer, the mean and the variance over all clips
    are stored in a new checkpoint, which is a name for --model. The same music gives the same statistics. Files that
    cannot be heard, or are shorter than a clip, are left out, and the exit code is 3.

    Example: tagcli weights calibrate choi2017-compact-cnn ~/Music
    """
    import os

    from tagcli.audio.quiet import quiet_decoders
    from tagcli.calibration.batch_norm import calibrate_batch_norms
    from tagcli.checkpoint import read_header
    from tagcli.weights.calibrated import calibrated_name
    from tagcli.weights.catalogue import find_weights
    from tagcli.weights.intake import place_own

    source = find_weights(name)
    target = place_own(calibrated_name(read_header(source)), output)
    is_quiet = bool(ctx.obj)
    left_out: list[Failure] = []
    try:
        with quiet_decoders(), _show_progress(is_shown=not is_quiet) as show:
            music = calibrate_batch_norms(
                source, folder, target, n_workers=jobs, on_failure=left_out.append, on_progress=show
            )
    finally:
        _tell(left_out, is_quiet=is_quiet)
    if not is_quiet:
        typer.echo(f"Calibrated on {music}.", err=True)
    typer.echo(os.fsencode(target))
    if any(isinstance(failure.code, FailureCode) for failure in left_out):
        raise typer.Exit(ExitCode.SOME_FAILED)


def _tell(left_out: "list[Failure]", *, is_quiet: bool) -> None:
    """Say which tracks were left out and why; of the silent ones only where the user wants talk."""
    from tagcli.cli.output import make_printable
    from tagcli.rows import make_readable

    told = [failure for failure in left_out if isinstance(failure.code, FailureCode) or not is_quiet]
    for failure in told[:_TOLD_FAILURES]:
        typer.echo(f"tagcli: {make_printable(make_readable(failure.message))}", err=True)
    if len(told) > _TOLD_FAILURES:
        typer.echo(f"tagcli: ... and {len(told) - _TOLD_FAILURES} more.", err=True)


@contextmanager
def _show_progress(*, is_shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr when that is a terminal: one for what is being done."""
    from tqdm import tqdm

    with tqdm(leave=False, disable=None if is_shown else True) as bar:

        def show(stage: str, n_done: int, n_all: int) -> None:
            if n_done == 1:
                bar.set_description(stage, refresh=False)
                bar.reset(total=n_all)
            bar.update(n_done - bar.n)

        yield show
