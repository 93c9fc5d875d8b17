"""The command `analyze cooccurrence`: which tags of a data set come together."""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tagcli.cli.analyze.answers import FormatOption, OutputOption, save_picture, write_json
from tagcli.cli.analyze.pairs_options import (
    PictureOption,
    TagsOption,
    TopOption,
    check_choice,
    choose_places,
)
from tagcli.cli.evaluation_choices import check_outputs
from tagcli.cli.options import EvaluationFormat

if TYPE_CHECKING:
    from tagcli.analysis.cooccurrence import Cooccurrence, CooccurringPair

FORMAT_VERSION = 1
_SCALE_STEP = 10.0  # per cent


def cooccurrence(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A data set; its audio need not be there.", show_default=False)
    ],
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Part of it.", show_default="all of it")
    ] = None,
    top: TopOption = 20,
    format_: FormatOption = EvaluationFormat.TABLE,
    output: OutputOption = None,
    figure: PictureOption = None,
    tags: TagsOption = None,
) -> None:
    """Find the tags that come together in a data set's labels.

    Of the examples with one tag, the share that carries another one, too: C(i, j) of Choi et al. 2017, equation 1. The
    pairs of the highest shares are listed with 95 % intervals, which take examples of one artist as alike. Rare tags
    have high shares by chance: leave them out with `tagcli dataset build --min-count`.

    Example: tagcli analyze cooccurrence msd.tsv --split train --figure pairs.png
    """
    names = check_choice(figure, tags)
    from tagcli.analysis.cooccurrence import count_cooccurrences
    from tagcli.cli.output import open_output
    from tagcli.datasets import open_dataset

    check_outputs((output, figure), (dataset,))
    manifest = open_dataset(dataset)
    found = count_cooccurrences(manifest if split is None else manifest.select(split))
    if figure is not None:
        places = choose_places(names, found.tags, found.choose_shown(), source=manifest.name)
        _draw(found, places, figure, split=split)
    pairs = found.list_pairs(top)
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            write_json(_describe(found, pairs, split=split), stream)
        elif format_ is EvaluationFormat.CSV:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["rank", "tag_a", "tag_b", "similarity", "low", "high", "n_together", "n_carriers"])
            writer.writerows([place, *asdict(pair).values()] for place, pair in enumerate(pairs, start=1))
        else:
            _print_table(found, pairs, stream, split=split)


def _describe(found: "Cooccurrence", pairs: "Sequence[CooccurringPair]", *, split: str | None) -> dict[str, Any]:
    from tagcli.metrics import CONFIDENCE

    return {
        "format_version": FORMAT_VERSION,
        "dataset": found.manifest.name,
        "split": split,
        "n_examples": len(found.manifest),
        "n_tags": len(found.tags),
        "interval": {"confidence": CONFIDENCE, "method": "wilson", "by": found.grouping.value},
        "pairs": [asdict(pair) for pair in pairs],
    }


def _print_table(
    found: "Cooccurrence", pairs: "Sequence[CooccurringPair]", stream: TextIO, *, split: str | None
) -> None:
    from tagcli.cli.evaluation_tables import print_table, round_figure, round_interval

    where = f"{found.manifest.name}, split {split}" if split else found.manifest.name
    rows = [
        [
            str(place),
            pair.tag_a,
            pair.tag_b,
            round_figure(pair.similarity),
            round_interval(pair.low, pair.high),
            str(pair.n_together),
            str(pair.n_carriers),
        ]
        for place, pair in enumerate(pairs, start=1)
    ]
    title = f"Tags that come together in {where}: {len(found.manifest)} examples, {len(found.tags)} tags"
    captions = [
        "C: share of the examples with the tag that carry the other tag, too",
        f"95 % intervals: Wilson's, {found.grouping.value}s taken as independent",
    ]
    header = ["rank", "tag", "other tag", "C", "95 %", "with both", "with the tag"]
    print_table(stream, title, header, rows, captions=captions)


def _draw(found: "Cooccurrence", places: Sequence[int], figure: Path, *, split: str | None) -> None:
    import numpy as np

    from tagcli.figures.heat_map import HeatMap, draw_heat_map
    from tagcli.weights.vocabularies import find_category

    chosen = tuple(found.tags[place] for place in places)
    where = f"{found.manifest.name}, {split}" if split else found.manifest.name
    values = 100 * found.similarities[np.ix_(places, places)]
    heat_map = HeatMap(
        title=f"Tags that come together in {where} (n = {len(found.manifest)})",
        tags=chosen,
        kinds=tuple(find_category(tag).value for tag in chosen),
        values=values,
        row_name="of the examples with this tag ...",
        column_name="... so many carry this one, too",
        scale_name="C(row, column) in %",
        low=0.0,
        high=max(_SCALE_STEP, _SCALE_STEP * math.ceil(np.nanmax(values, initial=0.0) / _SCALE_STEP)),
        number_format=".0f",
    )
    save_picture(figure, draw_heat_map, heat_map)
