"""The command `analyze frequency-profile`: how loud each mel band is, by the ways to weigh frequencies."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagcli.cli.analyze.answers import (
    FigureOption,
    FormatOption,
    OutputOption,
    SeedOption,
    check_answers,
    save_picture,
    write_csv,
    write_json,
)
from tagcli.cli.analyze.spectra import (
    DEFAULT_FRONT_END,
    DEFAULT_SECONDS,
    FolderArgument,
    Hearing,
    SecondsOption,
    TracksOption,
    choose_tracks,
    find_front_end,
)
from tagcli.cli.options import EvaluationFormat
from tagcli.errors import ExitCode

if TYPE_CHECKING:
    from tagcli.analysis.frequency_profile import FrequencyProfile


def frequency_profile(
    ctx: typer.Context,
    folder: FolderArgument,
    front_end: Annotated[
        str, typer.Option("--front-end", metavar="NAME", help="mel96-12k or mel96-16k.")
    ] = DEFAULT_FRONT_END,
    scale: Annotated[
        float, typer.Option("--scale", metavar="X", help="Factor of the standardised values; the paper's is 10.")
    ] = 1.0,
    tracks: TracksOption = None,
    seconds: SecondsOption = DEFAULT_SECONDS,
    seed: SeedOption = 0,
    format_: FormatOption = EvaluationFormat.TABLE,
    output: OutputOption = None,
    figure: FigureOption = None,
) -> None:
    """Show the mean level of each mel band, by frequency weighting.

    The bands, in decibels, are standardised one by one, A-weighted (IEC 61672), or left as they are; then each excerpt
    is standardised as a whole (Choi et al. 2017, Fig. 8).

    Example: tagcli analyze frequency-profile ~/Music --tracks 200 --figure profile.png
    """
    config = find_front_end(front_end)
    if not 0 < scale < math.inf:
        msg = f"{scale:g} is no factor; give a number above 0"
        raise typer.BadParameter(msg, param_hint="--scale")
    check_answers(output=output, figure=figure, inputs=folder)
    hearing = Hearing(choose_tracks(folder, n_most=tracks, seed=seed), max_seconds=seconds, is_quiet=bool(ctx.obj))
    from tagcli.analysis.frequency_profile import measure_profile
    from tagcli.cli.output import open_output

    with hearing.hear(config, front_end) as spectra:
        found = measure_profile(spectra, config, front_end=front_end, scale=scale)
    if figure is not None:
        from tagcli.figures.frequency_profile import draw_profile

        save_picture(figure, draw_profile, found)
    bands = _list_bands(found)
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            facts = {"front_end": found.front_end, "n_tracks": found.n_tracks, "scale": found.scale}
            write_json({"format_version": 1, **facts, "bands": bands}, stream)
        elif format_ is EvaluationFormat.CSV:
            write_csv(bands, stream)
        else:
            from tagcli.cli.evaluation_tables import print_table

            title = f"{found.front_end} on {found.n_tracks} tracks: mean level in deviations of an excerpt"
            header = ["band", "Hz", *(weighting.value for weighting in found.levels)]
            rows = [
                [str(number), f"{hertz:.0f}", *(f"{level:+.3f}" for level in levels)]
                for number, hertz, *levels in (band.values() for band in bands)
            ]
            print_table(stream, title + (f", times {scale:g}" if scale != 1 else ""), header, rows)
    if hearing.n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _list_bands(found: "FrequencyProfile") -> list[dict[str, Any]]:
    return [
        {
            "band": number,
            "centre_hz": float(hertz),
            **{
                weighting.value.replace("-", "_"): float(levels[number - 1])
                for weighting, levels in found.levels.items()
            },
        }
        for number, hertz in enumerate(found.centres_hz, start=1)
    ]
