"""The command `taggram`: what is heard in each part of one track, as a picture and as numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.options import DeviceOption, EvaluationFormat, ModelOption
from tagcli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagcli.checkpoint import CheckpointHeader
    from tagcli.tagger.taggram import Taggram

_PAGE = ".html"
_PICTURES = (".png", ".svg", ".pdf", _PAGE)
_TOP = 10


def taggram(
    track: Annotated[
        Path, typer.Argument(metavar="TRACK", help="One audio file, of any length.", show_default=False, dir_okay=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Draw png, svg or pdf, or an html page that tells scores on hover."
        ),
    ] = None,
    model: ModelOption = None,
    hop: Annotated[
        float | None,
        typer.Option(
            "--hop",
            metavar="SECONDS",
            min=0.1,
            help="How far apart clips begin, at most a clip.",
            show_default="a quarter of a clip",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "-n", "--top", min=1, help="Number of tags, those with the highest means.", show_default=str(_TOP)
        ),
    ] = None,
    tags: Annotated[
        str | None, typer.Option("--tags", metavar="A,B,...", help="These tags in this order, instead of --top.")
    ] = None,
    format_: Annotated[
        EvaluationFormat,
        typer.Option("--format", help="How the tags are printed: their means and highest scores, or all scores."),
    ] = EvaluationFormat.TABLE,
    device: DeviceOption = "auto",
) -> None:
    """Show what is heard in each part of a track, such as a mix or a symphony.

    Clips of the model's length are heard from the beginning to the end, and overlap, so that the tags are told for each
    few seconds. The picture has a row for each tag, and time from left to right; each moment has the colour of the clip
    whose middle is nearest. The html page is one file, and needs no network.

    Scores are printed as csv with the columns path, start_seconds and the tags, as `tagcli predict --over-time` saves
    them, or as one json document.

    Example: tagcli taggram mix.mp3 -o mix.html --top 8
    """
    if output is not None and output.suffix.lower() not in _PICTURES:
        msg = f"{output} ends in none of {', '.join(_PICTURES)}"
        raise typer.BadParameter(msg, param_hint="--output")
    if top is not None and tags is not None:
        msg = "the tags are named, so --top has no meaning; leave one of them out"
        raise typer.BadParameter(msg, param_hint="--tags")
    from tagcli.audio.quiet import quiet_decoders
    from tagcli.cli.output import check_outputs, make_printable, open_output
    from tagcli.cli.taggram_output import name_track, print_nothing_heard, print_taggram
    from tagcli.figures.saving import check_drawable
    from tagcli.rows import Status, make_readable, make_row
    from tagcli.tagger import open_tagger
    from tagcli.tagger.taggram import hear_taggram
    from tagcli.tags import Failure

    check_outputs((output,), (track,))
    if output is not None and output.suffix.lower() != _PAGE:
        check_drawable()
    tagger = open_tagger(model, device=device)
    header = tagger.header
    named = None if tags is None else _parse_tags(tags, header.vocabulary.tags, header.name)
    _check_hop(hop, header)
    with quiet_decoders():
        result = hear_taggram(tagger, track, hop_seconds=hop)
    facts = {"name": header.name, "sha256": tagger.sha256}
    if isinstance(result, Failure):
        row = make_row(result, header.vocabulary, top_n=0, thresholds=0.0)
        typer.echo(f"tagcli: {make_printable(make_readable(result.message))}", err=True)
        with open_output(None) as stream:
            print_nothing_heard(row, format_, stream, model=facts)
        raise typer.Exit(ExitCode.SOME_FAILED if row.status is Status.FAILED else ExitCode.DONE)
    shown = result.choose_best(top or _TOP) if named is None else result.choose(named)
    title = name_track(track)
    if output is not None:
        _draw(shown, output, title=title, model=header.name)
    with open_output(None) as stream:
        print_taggram(shown, format_, stream, title=title, model=facts)


def _parse_tags(text: str, known: "Sequence[str]", model: str) -> list[str]:
    """Read the value of --tags; capitals matter only where they tell two tags apart."""
    spelled = {tag.casefold(): tag for tag in known} | {tag: tag for tag in known}
    wanted = [tag.strip() for tag in text.split(",") if tag.strip()]
    unknown = [tag for tag in wanted if tag not in spelled and tag.casefold() not in spelled]
    if unknown or not wanted:
        what = f"does not know {unknown[0]!r}" if unknown else "is asked for no tag"
        msg = f"{model} {what}; its tags are {', '.join(known)}"
        raise typer.BadParameter(msg, param_hint="--tags")
    return [spelled[tag] if tag in spelled else spelled[tag.casefold()] for tag in wanted]


def _check_hop(hop_seconds: float | None, header: "CheckpointHeader") -> None:
    """Refuse a way from clip to clip that is longer than a clip."""
    clip_seconds = header.clip.n_samples / header.front_end.sample_rate
    if hop_seconds is not None and hop_seconds > clip_seconds:
        msg = f"{hop_seconds:g} s is longer than a clip of {header.name}, {clip_seconds:g} s"
        raise typer.BadParameter(msg, param_hint="--hop")


def _draw(shown: "Taggram", output: Path, *, title: str, model: str) -> None:
    """Draw the picture, or write the page."""
    from tagcli.cli.output import open_output
    from tagcli.cli.taggram_output import describe_clips

    caption = f"{model}, {describe_clips(shown)}"
    format_ = output.suffix.lower()
    with open_output(output, binary=True) as file:
        if format_ == _PAGE:
            from tagcli.figures.taggram_page import write_taggram_page

            write_taggram_page(shown, file, title=title, caption=caption)
        else:
            from tagcli.figures.taggram import draw_taggram

            draw_taggram(shown, file, format_=format_.removeprefix("."), title=title, caption=caption)
