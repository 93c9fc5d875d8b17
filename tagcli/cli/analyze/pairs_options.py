"""Options of the analyses of pairs of tags, and their picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tagcli.cli.evaluation_choices import check_picture

TopOption = Annotated[int, typer.Option("--top", metavar="K", min=1, help="Number of pairs that are listed.")]
TagsOption = Annotated[
    str | None,
    typer.Option("--tags", metavar="A,B,...", help="Tags of the heat map.", show_default="23 of several kinds"),
]
PictureOption = Annotated[
    Path | None, typer.Option("--figure", metavar="FILE", help="Draw a heat map as png, svg or pdf.")
]


def check_choice(figure: Path | None, tags: str | None) -> tuple[str, ...]:
    """Refuse what cannot be drawn before anything is read; give the names of the tags that are to be drawn."""
    if figure is None:
        if tags is not None:
            msg = "it chooses the tags of a picture, and --figure is missing"
            raise typer.BadParameter(msg, param_hint="--tags")
        return ()
    check_picture(figure)
    from tagcli.figures.saving import check_drawable

    check_drawable()
    return tuple(name.strip() for name in (tags or "").split(",") if name.strip())


def choose_places(names: Sequence[str], tags: Sequence[str], default: Sequence[int], *, source: str) -> Sequence[int]:
    """Find the tags that are to be drawn, or take the usual ones."""
    from tagcli.analysis.tag_pairs import find_tags

    return find_tags(names, tags, source=source) if names else default
