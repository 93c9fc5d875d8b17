"""The command `analyze label-vectors`: which tags are alike to a network."""

import csv
from collections.abc import Sequence
from enum import StrEnum
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
    from tagcli.analysis.label_vectors import CooccurrenceMatch, SimilarPair, TagSimilarity

FORMAT_VERSION = 1


class MeasureName(StrEnum):
    """How vectors are compared."""

    COSINE = "cosine"
    DOT = "dot"


def label_vectors(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Weights, as for `predict --model`.")],
    measure: Annotated[
        MeasureName, typer.Option("--measure", help="Compare the vectors' angles, or their products.")
    ] = MeasureName.COSINE,
    top: TopOption = 20,
    negative: Annotated[
        bool, typer.Option("--negative", help="List as many pairs of the lowest similarities below 0, too.")
    ] = False,
    cooccurrence: Annotated[
        Path | None,
        typer.Option("--cooccurrence", metavar="DATASET", help="Compare with the tags that come together there."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Part of --cooccurrence.", show_default="all of it"),
    ] = None,
    format_: FormatOption = EvaluationFormat.TABLE,
    output: OutputOption = None,
    figure: PictureOption = None,
    tags: TagsOption = None,
) -> None:
    """Find the tags that are alike to a network: those whose outputs have similar weights.

    A tag's label vector is its part of the last dense layer (Choi et al. 2017, section V-A). With --cooccurrence, the
    most similar pairs and the ranks of all pairs are compared with how often the tags come together in labels: with the
    higher one of C(i, j) and C(j, i), see `tagcli analyze cooccurrence`.

    Example: tagcli analyze label-vectors won2020-msd-fcn --cooccurrence msd.tsv --figure vectors.png
    """
    names = check_choice(figure, tags)
    if split is not None and cooccurrence is None:
        msg = "it names a part of --cooccurrence, which is missing"
        raise typer.BadParameter(msg, param_hint="--split")
    from tagcli.analysis.cooccurrence import count_cooccurrences
    from tagcli.analysis.label_vectors import Measure, match_cooccurrence, read_label_vectors
    from tagcli.cli.output import open_output
    from tagcli.datasets import open_dataset
    from tagcli.files import hash_file
    from tagcli.weights.catalogue import find_weights

    path = find_weights(name)
    check_outputs((output, figure), (cooccurrence, path))
    found = read_label_vectors(path).compare(Measure(measure.value))
    match = None
    if cooccurrence is not None:
        manifest = open_dataset(cooccurrence)
        counted = count_cooccurrences(manifest if split is None else manifest.select(split))
        match = match_cooccurrence(found, counted, n_top=top)
    if figure is not None:
        places = choose_places(names, found.tags, found.choose_shown(), source=found.name)
        _draw(found, places, figure)
    ranked = found.list_pairs()
    tops = [ranked[:top]]
    if negative:
        tops.append([pair for pair in reversed(ranked[-top:]) if pair.similarity < 0])
    rows = [[_describe_pair(pair, found, match) for pair in pairs] for pairs in tops]
    with open_output(output) as stream:
        if format_ is EvaluationFormat.JSON:
            document = {
                "format_version": FORMAT_VERSION,
                "model": {"name": found.name, "sha256": hash_file(path)},
                "measure": found.measure.value,
                "n_tags": len(found.tags),
                "pairs": rows[0],
                "negative_pairs": rows[1] if negative else None,
                "cooccurrence": None if match is None else _describe_match(match, split=split),
            }
            write_json(document, stream)
        elif format_ is EvaluationFormat.CSV:
            columns = ["rank", "tag_a", "tag_b", "similarity", *(("cooccurrence", "is_common") if match else ())]
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for part in rows for row in part)
        else:
            _print_table(found, rows, match, stream, split=split)


def _describe_pair(pair: "SimilarPair", found: "TagSimilarity", match: "CooccurrenceMatch | None") -> dict[str, Any]:
    row = {"rank": pair.rank, "tag_a": pair.tag_a, "tag_b": pair.tag_b, "similarity": pair.similarity}
    if match is None:
        return row
    from tagcli.evaluation.document import nullify

    place = found.tags.index(pair.tag_a), found.tags.index(pair.tag_b)
    return {
        **row,
        **nullify({"cooccurrence": float(match.cooccurrences[place])}),
        "is_common": bool(match.is_common[place]),
    }


def _describe_match(match: "CooccurrenceMatch", *, split: str | None) -> dict[str, Any]:
    from tagcli.evaluation.document import nullify

    return {
        "dataset": match.dataset,
        "split": split,
        "n_examples": match.n_examples,
        "n_top": match.n_top,
        "n_common": match.n_common,
        **nullify({"rank_correlation": match.rank_correlation}),
        "n_pairs": match.n_pairs,
    }


def _print_table(
    found: "TagSimilarity",
    parts: Sequence[Sequence[dict[str, Any]]],
    match: "CooccurrenceMatch | None",
    stream: TextIO,
    *,
    split: str | None,
) -> None:
    from tagcli.cli.evaluation_tables import print_table, round_figure

    header = ["rank", "tag", "other tag", found.measure.value]
    captions = []
    if match is not None:
        header += ["C", "in both tops"]
        where = f"{match.dataset}, split {split}" if split else match.dataset
        captions = [
            f"C: the higher one of C(i, j) and C(j, i) in {where}, {match.n_examples} examples",
            f"pairs that are in both tops of {match.n_top}, among the tags that both have: {match.n_common}",
            f"rank correlation with C over {match.n_pairs} pairs: {round_figure(match.rank_correlation)}",
        ]

    def list_cells(row: dict[str, Any]) -> list[str]:
        cells = [str(row["rank"]), row["tag_a"], row["tag_b"], round_figure(row["similarity"])]
        if match is not None:
            share = row["cooccurrence"]
            cells += ["-" if share is None else round_figure(share), "yes" if row["is_common"] else ""]
        return cells

    title = f"Tags that are alike to {found.name}: {len(found.tags)} tags"
    print_table(stream, title, header, *(map(list_cells, part) for part in parts), captions=captions)


def _draw(found: "TagSimilarity", places: Sequence[int], figure: Path) -> None:
    import numpy as np

    from tagcli.figures.heat_map import HeatMap, draw_heat_map
    from tagcli.weights.vocabularies import find_category

    chosen = tuple(found.tags[place] for place in places)
    values = found.values[np.ix_(places, places)].copy()
    np.fill_diagonal(values, np.nan)
    is_cosine = found.measure.value == MeasureName.COSINE.value
    end = 1.0 if is_cosine else float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    heat_map = HeatMap(
        title=f"Label vectors of {found.name}",
        tags=chosen,
        kinds=tuple(find_category(tag).value for tag in chosen),
        values=values,
        row_name="",
        column_name="",
        scale_name="cosine similarity" if is_cosine else "dot product",
        low=-end,
        high=end,
        number_format=".2f" if is_cosine else ".1f",
    )
    save_picture(figure, draw_heat_map, heat_map)
