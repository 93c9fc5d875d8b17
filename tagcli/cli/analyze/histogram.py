"""The command `analyze histogram`: how the values are distributed that a network is given."""

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
    from tagcli.analysis.histogram import Histogram

_MOMENTS = ("skewness", "kurtosis", "lowest", "highest", "share_below", "share_above")


def histogram(
    ctx: typer.Context,
    folder: FolderArgument,
    front_end: Annotated[
        list[str] | None,
        typer.Option(
            "--front-end", metavar="NAME", help="mel96-12k or mel96-16k; repeatable.", show_default=DEFAULT_FRONT_END
        ),
    ] = None,
    tracks: TracksOption = None,
    seconds: SecondsOption = DEFAULT_SECONDS,
    seed: SeedOption = 0,
    format_: FormatOption = EvaluationFormat.TABLE,
    output: OutputOption = None,
    figure: FigureOption = None,
) -> None:
    """Show how time-frequency bins are distributed, in decibels and on a linear scale.

    The values of each excerpt are standardised, as a network is given them: the logarithm makes them nearly symmetric,
    without it almost all of them are next to nothing (Choi et al. 2017, Fig. 6).

    Example: tagcli analyze histogram ~/Music --tracks 100 --figure histogram.png
    """
    names = list(dict.fromkeys(front_end or [DEFAULT_FRONT_END]))
    configs = [find_front_end(name) for name in names]
    check_answers(output=output, figure=figure, inputs=folder)
    hearing = Hearing(choose_tracks(folder, n_most=tracks, seed=seed), max_seconds=seconds, is_quiet=bool(ctx.obj))
    from tagcli.analysis.histogram import measure_histograms
    from tagcli.cli.output import open_output

    found: list[Histogram] = []
    for name, config in zip(names, configs, strict=True):
        with hearing.hear(config, name) as spectra:
            found += measure_histograms(spectra, config, front_end=name)
    if figure is not None:
        from tagcli.figures.histogram import draw_histograms

        save_picture(figure, draw_histograms, found)
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            write_json(_describe(found), stream)
        elif format_ is EvaluationFormat.CSV:
            write_csv(_list_bars(found), stream)
        else:
            from tagcli.cli.evaluation_tables import print_table

            header = ["front end", "scale", "tracks", "bins", "skewness", "kurtosis", "lowest", "highest"]
            title = "Standardised time-frequency bins; skewness and kurtosis of a normal distribution are 0"
            print_table(stream, title, header, map(_list_cells, found))
    if hearing.n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _describe(found: "list[Histogram]") -> dict[str, Any]:
    from tagcli.analysis.histogram import EDGES

    return {
        "format_version": 1,
        "edges": EDGES.tolist(),
        "histograms": [
            {
                "front_end": each.front_end,
                "compression": each.compression.value,
                "n_tracks": each.n_tracks,
                "n_values": each.n_values,
                **{name: getattr(each, name) for name in _MOMENTS},
                "density": each.density.tolist(),
            }
            for each in found
        ],
    }


def _list_bars(found: "list[Histogram]") -> list[dict[str, Any]]:
    from tagcli.analysis.histogram import EDGES

    return [
        {
            "front_end": each.front_end,
            "compression": each.compression.value,
            "skewness": each.skewness,
            "kurtosis": each.kurtosis,
            "low": low,
            "high": high,
            "density": density,
        }
        for each in found
        for low, high, density in zip(EDGES[:-1].tolist(), EDGES[1:].tolist(), each.density.tolist(), strict=True)
    ]


def _list_cells(found: "Histogram") -> list[str]:
    counts = [str(found.n_tracks), str(found.n_values)]
    moments = [f"{value:.2f}" for value in (found.skewness, found.kurtosis, found.lowest, found.highest)]
    return [found.front_end, found.compression.value, *counts, *moments]
