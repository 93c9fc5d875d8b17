"""Reliability and tag noise: correlations against plain ones, what systems share, commands, pictures, wrong input."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from test_evaluation import make_manifest, make_system
from typer.testing import CliRunner

from tagcli.analysis.annotation_sheet import Sheet, SheetLine, Subset
from tagcli.analysis.reliability import measure_reliability
from tagcli.analysis.sheet_file import write_sheet
from tagcli.analysis.tag_noise import read_recalls, relate_noise
from tagcli.cli import app
from tagcli.datasets.manifest_file import write_manifest
from tagcli.errors import DatasetError
from tagcli.evaluation import Estimate, TagEvaluation, align, evaluate, read_tag_evaluations
from tagcli.figures.reliability import draw_reliability
from tagcli.figures.tag_noise import draw_noise
from tagcli.metrics import draw_weights
from tagcli.tags import Category

EXACT = 1e-9
"""Means and correlations of the same fractions, in float64 in another order."""
TAGS = ("rock", "jazz", "guitar", "sad", "90s")
FEW = ("jazz", "guitar")
N_EXAMPLES, N_ANNOTATED = 60, 40


def run(*arguments, code=0, before=()):
    result = CliRunner().invoke(app, [*before, "analyze", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def fail(*arguments, code=1):
    result = run(*arguments, code=code, before=["-q"])
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def manifest():
    labels = np.random.default_rng(0).random((N_EXAMPLES, len(TAGS))) < 0.4
    return make_manifest(labels, TAGS, root=Path("audio"), splits=("test",) * N_EXAMPLES)


def make_sheet(manifest, answers, *, subset=Subset.RANDOM, tags=FEW):
    """The answers to random excerpts, the first of the data set [shape=(n_annotated, n_tags)]; None for no answer."""
    lines = [
        SheetLine(
            subset=subset,
            id=manifest.ids[row],
            path=manifest.paths[row],
            start_seconds=0.0,
            duration_seconds=None,
            tag=tag,
            label=bool(manifest.labels[row, manifest.tags.index(tag)]),
            annotation=None if answer is None else bool(answer),
            n_positive=1,
            n_known=2,
        )
        for row, given in enumerate(answers)
        for tag, answer in zip(tags, given, strict=True)
    ]
    return Sheet(name="sheet", lines=tuple(lines))


@pytest.fixture(scope="module")
def answers(manifest):
    """What is true: every fifth label is wrong."""
    labels = manifest.labels[:N_ANNOTATED, 1:3]
    return labels ^ (np.random.default_rng(1).random(labels.shape) < 0.2)


@pytest.fixture(scope="module")
def systems(manifest):
    """Systems that know the labels more and more."""
    generator = np.random.default_rng(2)
    return [
        make_system(manifest, manifest.labels * skill + generator.normal(size=manifest.labels.shape), name=f"s{skill}")
        for skill in (0.2, 0.5, 1.0, 2.0)
    ]


def mean_area(labels, scores, weights):
    """The mean over tags by scikit-learn, of those that are defined."""
    areas = []
    for tag in range(labels.shape[1]):
        there = labels[weights > 0, tag]
        if there.any() and not there.all():
            areas.append(roc_auc_score(labels[:, tag], scores[:, tag], sample_weight=weights))
    return np.mean(areas) if areas else np.nan


def find_pairs(manifest, answers, systems, weights_few, weights_all):
    """The areas of each system by plain means [shape=(n_systems, 4)]."""
    truth = manifest.labels[:N_ANNOTATED, 1:3]
    return np.array(
        [
            (
                mean_area(truth, system.scores[:N_ANNOTATED, 1:3], weights_few),
                mean_area(answers, system.scores[:N_ANNOTATED, 1:3], weights_few),
                mean_area(manifest.labels[:, 1:3], system.scores[:, 1:3], weights_all),
                mean_area(manifest.labels, system.scores, weights_all),
            )
            for system in systems
        ]
    )


def test_both_correlations_and_their_intervals_are_those_of_plain_means(manifest, answers, systems):
    found = measure_reliability(manifest, make_sheet(manifest, answers), systems, n_replicates=6, seed=5)
    once = find_pairs(manifest, answers, systems, np.ones(N_ANNOTATED), np.ones(N_EXAMPLES))
    for areas, expected in zip(found.systems, once, strict=True):
        values = [areas.by_truth.value, areas.by_annotation.value, areas.few_tags.value, areas.all_tags.value]
        np.testing.assert_allclose(values, expected, rtol=0, atol=EXACT)
    assert found.rho1.value == pytest.approx(np.corrcoef(once[:, 0], once[:, 1])[0, 1], abs=EXACT)
    assert found.rho2.value == pytest.approx(np.corrcoef(once[:, 2], once[:, 3])[0, 1], abs=EXACT)
    few, whole = (
        np.concatenate(list(draw_weights(np.arange(n), n_replicates=6, seed=5))) for n in (N_ANNOTATED, N_EXAMPLES)
    )
    drawn = [find_pairs(manifest, answers, systems, *weights) for weights in zip(few, whole, strict=True)]
    for rho, columns in ((found.rho1, (0, 1)), (found.rho2, (2, 3))):
        expected = [np.corrcoef(*pairs[:, columns].T)[0, 1] for pairs in drawn]
        assert (rho.low, rho.high) == pytest.approx(np.quantile(expected, (0.025, 0.975)), abs=EXACT)
    assert (found.n_annotated, found.n_examples, found.n_tags, found.tags) == (N_ANNOTATED, N_EXAMPLES, 5, FEW)


def test_an_annotation_that_is_the_ground_truth_correlates_perfectly(manifest, systems):
    sheet = make_sheet(manifest, manifest.labels[:, 1:3])
    found = measure_reliability(manifest, sheet, systems, n_replicates=20)
    assert found.rho1.value == pytest.approx(1, abs=EXACT)
    assert found.rho1.low == pytest.approx(1, abs=EXACT)
    assert [areas.by_truth for areas in found.systems] == [areas.few_tags for areas in found.systems]


def test_only_what_all_systems_share_is_judged_by(manifest, answers, systems):
    lacking = make_system(manifest, systems[0].scores[:, [3, 2, 1]], tags=("SAD", "guitar", "jazz"), name="few tags")
    late = replace(systems[1], ids=manifest.ids[10:], scores=systems[1].scores[10:])
    deaf = systems[2].scores.copy()
    deaf[20:25] = np.nan
    given = [lacking, late, replace(systems[2], scores=deaf), systems[3]]
    found = measure_reliability(manifest, make_sheet(manifest, answers), given, n_replicates=0)
    rows = np.setdiff1d(np.arange(10, N_EXAMPLES), np.arange(20, 25))
    few = rows[rows < N_ANNOTATED]
    assert (found.n_tags, found.n_examples, found.n_annotated) == (3, len(rows), len(few))
    expected = mean_area(answers[few], systems[0].scores[few][:, 1:3], np.ones(len(few)))
    assert found.systems[0].by_annotation.value == pytest.approx(expected, abs=EXACT)
    expected = mean_area(manifest.labels[rows, 1:4], systems[3].scores[rows, 1:4], np.ones(len(rows)))
    assert found.systems[3].all_tags.value == pytest.approx(expected, abs=EXACT)
    assert math.isnan(found.rho1.low)


def test_what_is_not_answered_is_judged_by_neither_truth(manifest, answers, systems):
    given = [[row[0], None if number % 2 else row[1]] for number, row in enumerate(answers)]
    found = measure_reliability(manifest, make_sheet(manifest, given), systems, n_replicates=0)
    scores = systems[0].scores[:N_ANNOTATED]
    areas = [
        roc_auc_score(manifest.labels[:N_ANNOTATED, 1], scores[:, 1]),
        roc_auc_score(manifest.labels[:N_ANNOTATED:2, 2], scores[::2, 2]),
    ]
    assert found.systems[0].by_truth.value == pytest.approx(np.mean(areas), abs=EXACT)


def test_both_sides_of_the_first_correlation_are_means_over_the_same_tags(manifest, answers, systems):
    """A tag that was annotated alike everywhere has no area, and tells nothing of the ground truth's either."""
    alike = answers.copy()
    alike[:, 1] = True
    found = measure_reliability(manifest, make_sheet(manifest, alike), systems, n_replicates=20)
    alone = measure_reliability(manifest, make_sheet(manifest, alike[:, :1], tags=FEW[:1]), systems, n_replicates=20)
    assert [areas.by_truth.value for areas in found.systems] == [areas.by_truth.value for areas in alone.systems]
    assert found.rho1.value == pytest.approx(alone.rho1.value)


def test_what_cannot_be_compared_is_told(manifest, answers, systems):
    sheet = make_sheet(manifest, answers)
    with pytest.raises(DatasetError, match="2 are given; give 3 or more"):
        measure_reliability(manifest, sheet, systems[:2], n_replicates=0)
    balanced = make_sheet(manifest, answers, subset=Subset.BALANCED)
    with pytest.raises(DatasetError, match="has no answer for a random excerpt"):
        measure_reliability(manifest, balanced, systems, n_replicates=0)
    polka = Sheet(name="x", lines=tuple(replace(line, tag="polka") for line in sheet.lines))
    with pytest.raises(DatasetError, match=r"'polka' is not in set and in all of s0\.2"):
        measure_reliability(manifest, polka, systems, n_replicates=0)
    with pytest.raises(DatasetError, match="No annotated excerpt is among the 20 examples"):
        measure_reliability(manifest.take(np.arange(40, 60)), sheet, systems, n_replicates=0)
    apart = [replace(systems[0], ids=manifest.ids[:1], scores=systems[0].scores[:1])]
    apart += [replace(each, ids=manifest.ids[1:], scores=each.scores[1:]) for each in systems[1:]]
    with pytest.raises(DatasetError, match="no example of set in common"):
        measure_reliability(manifest, sheet, apart, n_replicates=0)


# Tag noise


def make_tags(areas, categories=None):
    nothing = math.nan
    return [
        TagEvaluation(
            tag=f"tag {number}",
            category=Category.GENRE if categories is None else categories[number],
            n_positive=5,
            n_negative=5,
            roc_auc=Estimate(value=area, low=nothing, high=nothing),
            pr_auc=Estimate(value=area, low=nothing, high=nothing),
        )
        for number, area in enumerate(areas)
    ]


def test_the_rank_correlation_is_that_of_scipy_with_its_bootstrap():
    areas, recalls = np.random.default_rng(0).random((2, 12))
    recalls[3] = recalls[4]
    given = {f"TAG {number}": recall for number, recall in enumerate(recalls.tolist())}
    found = relate_noise(make_tags(areas), given, n_replicates=40, seed=1)
    assert found.correlation.value == pytest.approx(spearmanr(areas, recalls).statistic, abs=EXACT)
    drawn = [
        np.repeat(np.arange(12), w) for w in np.concatenate(list(draw_weights(np.arange(12), n_replicates=40, seed=1)))
    ]
    expected = [spearmanr(areas[rows], recalls[rows]).statistic for rows in drawn]
    bounds = (found.correlation.low, found.correlation.high)
    assert bounds == pytest.approx(np.quantile(expected, (0.025, 0.975)), abs=EXACT)


def test_kinds_are_averaged_and_what_is_not_known_is_left_out():
    kinds = [Category.ERA, Category.ERA, Category.MOOD, Category.GENRE, Category.ERA]
    tags = make_tags([0.9, 0.7, 0.6, 0.8, math.nan], kinds)
    found = relate_noise(tags, {"tag 0": 0.9, "tag 2": 0.5, "tag 3": 0.1, "tag 4": 1.0, "polka": 0.3}, n_replicates=0)
    means = {mean.category: (mean.n_tags, mean.roc_auc, mean.n_recalls, mean.recall) for mean in found.categories}
    assert means == {
        Category.GENRE: (1, 0.8, 1, 0.1),
        Category.MOOD: (1, 0.6, 1, 0.5),
        Category.ERA: (2, pytest.approx(0.8), 1, 0.9),
    }
    assert set(found.unmatched) == {"tag 4", "polka"}
    assert [tag.tag for tag in found.known] == ["tag 0", "tag 2", "tag 3"]
    with pytest.raises(DatasetError, match="2 have both"):
        relate_noise(tags, {"tag 0": 0.9, "tag 2": 0.5}, n_replicates=0)


def test_an_evaluation_serves_as_it_is_and_as_it_was_stored(manifest, systems, tmp_path):
    evaluation = evaluate(align(manifest, systems[2]), split=None, n_replicates=20)
    from tagcli.evaluation.document import describe_evaluation

    (tmp_path / "e.json").write_text(json.dumps(describe_evaluation(evaluation)), encoding="utf-8")
    assert read_tag_evaluations(tmp_path / "e.json") == evaluation.per_tag
    bare = {"per_tag": [{"tag": "80s", "n_positive": 1, "n_negative": 0, "roc_auc": None, "pr_auc": None}]}
    (tmp_path / "e.json").write_text(json.dumps(bare), encoding="utf-8")
    (tag,) = read_tag_evaluations(tmp_path / "e.json")
    assert tag.category is Category.ERA
    assert math.isnan(tag.roc_auc.value)


# The commands and pictures


@pytest.fixture
def files(tmp_path, manifest, answers, systems):
    """A data set, a filled sheet, and scores of four systems, two of one name."""
    write_manifest(manifest, tmp_path / "set.tsv")
    with (tmp_path / "sheet.csv").open("wb") as file:
        write_sheet(make_sheet(manifest, answers), file)
    for number, system in enumerate(systems):
        (tmp_path / str(number)).mkdir()
        np.savez(tmp_path / str(number) / f"{number % 3}.npz", scores=system.scores, tags=system.tags, ids=system.ids)
    scores = [tmp_path / str(number) / f"{number % 3}.npz" for number in range(4)]
    return [tmp_path / "set.tsv", tmp_path / "sheet.csv", *scores]


def test_reliability_prints_every_format(files, manifest, answers, systems, tmp_path):
    expected = measure_reliability(manifest, make_sheet(manifest, answers), systems, n_replicates=20, seed=1)
    arguments = ["reliability", *files, "--bootstrap", 20, "--seed", 1]
    content = json.loads(run(*arguments, "--format", "json", "--figure", tmp_path / "a.png").stdout)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert content["rho1"]["value"] == pytest.approx(expected.rho1.value, abs=EXACT)
    assert content["rho2"]["low"] == pytest.approx(expected.rho2.low, abs=EXACT)
    assert [system["system"] for system in content["systems"]] == [str(path) for path in files[2:]]
    named = run("reliability", *files[:-1], "--bootstrap", 0).stdout
    assert f"3 systems on {manifest.name}" in named.splitlines()[0]
    assert [line.split()[0] for line in named.splitlines()[2:5]] == ["0", "1", "2"]
    assert "no intervals" in named
    assert f"rho1 = {expected.rho1.value:.4f} (" in run(*arguments).stdout
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").stdout)))
    assert [row["figure"] for row in rows[:2]] == ["rho1", "rho2"]
    assert len(rows) == 2 + 4 * 4
    assert float(rows[0]["value"]) == content["rho1"]["value"]


@pytest.fixture
def evaluated(tmp_path, files):
    """An evaluation as `eval` stores it, and a table of recalls."""
    runner = CliRunner()
    arguments = ["eval", str(files[0]), "--scores", str(files[4]), "--format", "json", "-o", str(tmp_path / "e.json")]
    assert runner.invoke(app, arguments).exit_code == 0
    (tmp_path / "recalls.csv").write_text("tag,recall\nrock,0.9\njazz,0.5\n90s,.2\nsad,\npolka,1\n", encoding="utf-8")
    return tmp_path / "e.json", "--recalls", tmp_path / "recalls.csv"


def test_tag_noise_prints_every_format(evaluated, tmp_path):
    result = run("tag-noise", *evaluated, "--format", "json", "--figure", tmp_path / "a.svg")
    assert "has no tag polka" in result.stderr
    content = json.loads(result.stdout)
    assert content["n_tags"] == 3
    assert content["by_category"]["era"]["recall"] == 0.2
    assert {tag["tag"]: tag["recall"] for tag in content["per_tag"]}["sad"] is None
    for name in (b"rock", b"jazz", b"90s"):
        assert b"<!-- " + name + b" -->" in (tmp_path / "a.svg").read_bytes()
    assert b"<!-- sad -->" not in (tmp_path / "a.svg").read_bytes()
    table = run("tag-noise", *evaluated, before=["-q"]).stdout
    assert f"rank correlation: {content['spearman']['value']:.4f}" in table
    assert "Kinds of tags" in table
    rows = list(csv.DictReader(io.StringIO(run("tag-noise", *evaluated, "--format", "csv").stdout)))
    assert [row["tag"] for row in rows] == list(TAGS)


def test_recalls_come_from_a_report_too(files, tmp_path):
    balanced = files[1].read_text(encoding="utf-8").replace("random,", "balanced,")
    files[1].write_text(balanced, encoding="utf-8")
    run("groundtruth", files[1], "--format", "json", "-o", tmp_path / "r.json")
    run("groundtruth", files[1], "--format", "csv", "-o", tmp_path / "r.csv")
    recalls = read_recalls(tmp_path / "r.json")
    assert list(recalls) == list(FEW)
    assert read_recalls(tmp_path / "r.csv") == recalls


def test_pictures_take_any_name_and_what_is_not_defined(manifest, answers, systems):
    named = [
        replace(system, name=name) for system, name in zip(systems, ("$\\x$", "演歌", "<b>&", "x" * 100), strict=True)
    ]
    constant = [replace(system, scores=np.zeros_like(system.scores)) for system in named]
    for given in (named, constant):
        found = measure_reliability(manifest, make_sheet(manifest, answers), given, n_replicates=0)
        draw_reliability(found, io.BytesIO(), format_="svg")
    one_class = measure_reliability(
        replace(manifest, labels=np.zeros_like(manifest.labels)), make_sheet(manifest, answers), named, n_replicates=5
    )
    assert math.isnan(one_class.rho1.value)
    draw_reliability(one_class, io.BytesIO(), format_="svg")
    tags = [replace(tag, tag=f"$\\{tag.tag}$") for tag in make_tags([0.5, 0.5, 0.5])]
    draw_noise(relate_noise(tags, {tag.tag: 0.5 for tag in tags}, n_replicates=0), io.BytesIO(), format_="pdf")


def test_wrong_input_is_one_sentence(files, evaluated, tmp_path):
    assert "give 3 or more" in fail("reliability", *files[:4])
    assert "cannot be read" in fail("reliability", *files, tmp_path / "none.npz")
    assert "cannot be read" in fail("reliability", files[0], tmp_path / "none.csv", *files[2:])
    assert "no column 'subset'" in fail("reliability", files[0], tmp_path / "recalls.csv", *files[2:])
    assert "has no split 'dev'" in fail("reliability", *files, "--split", "dev")
    assert "wanted for two things" in fail("reliability", *files, "-o", files[2])
    assert "wanted for two things" in fail("reliability", *files, "-o", files[0].with_suffix(".toml"))
    run("reliability", *files, files[2], code=2)
    evaluation, option, recalls = evaluated
    assert "cannot be read" in fail("tag-noise", tmp_path / "none.json", option, recalls)
    assert "is no evaluation" in fail("tag-noise", recalls, option, recalls)
    assert "is no report" in fail("tag-noise", evaluation, option, evaluation)
    assert "no column 'tag'" in fail("tag-noise", evaluation, option, files[1].parent / "set.tsv")
    for text in ('{"per_tag": [{"tag": ["a"], "recall": {"value": 0.5}}]}', '{"a": ' * 100_000):
        recalls.write_text(text, encoding="utf-8")
        fail("tag-noise", evaluation, option, recalls)
    for line, sentence in {
        "rock,80 %": "no number from 0 to 1",
        "rock,1.5": "0 to 1",
        "jazz,1": "'jazz' twice",
        f"rock,1{'0' * 400}": "no number from 0 to 1",
    }.items():
        recalls.write_text(f"tag,recall\njazz,0.5\n{line}\n", encoding="utf-8")
        assert sentence in fail("tag-noise", evaluation, option, recalls)
    endless = '{"per_tag": [{"tag": "a", "n_positive": Infinity, "n_negative": 1, "roc_auc": 1, "pr_auc": 1}]}'
    for text in ("[]", "{}", '{"per_tag": [{"tag": 1}]}', '{"per_tag": [3]}', "[" * 100_000, endless):
        evaluation.write_text(text, encoding="utf-8")
        assert "is no evaluation" in fail("tag-noise", evaluation, option, recalls)


@pytest.mark.parametrize(
    "arguments",
    [
        ["reliability", "a.tsv", "b.csv"],
        ["reliability", "a.tsv", "b.csv", "c.npz", "--figure", "a.gif"],
        ["tag-noise", "a.json"],
        ["tag-noise", "a.json", "--recalls", "b.csv", "--figure", "a"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(arguments):
    run(*arguments, code=2)
