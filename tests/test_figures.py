"""Pictures: of every format, without windows, and one sentence where matplotlib is missing."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from test_evaluation import make_manifest, make_system

from tagcli.errors import OutputError
from tagcli.evaluation import align, evaluate
from tagcli.figures.evaluation import draw_evaluation
from tagcli.figures.saving import FORMATS


def make_evaluation(tags, *, n_replicates=20, split="test"):
    generator = np.random.default_rng(0)
    labels = generator.random((30, len(tags))) < 0.5
    labels[:, -1] = False
    manifest = make_manifest(labels, tags)
    scores = generator.normal(size=labels.shape) + labels
    return evaluate(align(manifest, make_system(manifest, scores)), split=split, n_replicates=n_replicates)


def draw(evaluation, format_="svg"):
    stream = io.BytesIO()
    draw_evaluation(evaluation, stream, format_=format_)
    return stream.getvalue()


@pytest.mark.parametrize("n_replicates", [20, 0])
@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_what_it_is_called(format_, n_replicates):
    signatures = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF-"}
    assert draw(make_evaluation(["rock", "jazz", "folk"], n_replicates=n_replicates), format_).startswith(
        signatures[format_]
    )


def test_defined_tags_are_drawn_the_best_on_top():
    evaluation = make_evaluation(["rock", "jazz", "folk", "never"])
    comments = re.findall(r"<!-- (.*?) -->", draw(evaluation).decode())
    named = [comment.rpartition(" (")[0] for comment in comments if re.search(r" \(\d+\)$", comment)]
    defined = [tag for tag in evaluation.per_tag if tag.tag != "never"]
    assert named == [tag.tag for tag in sorted(defined, key=lambda tag: tag.roc_auc.value)]


@pytest.mark.parametrize(("split", "is_said"), [("train", True), ("test", False)])
def test_seen_data_are_called_so(split, is_said):
    assert (b"seen data" in draw(make_evaluation(["rock", "folk"], split=split))) is is_said


def test_a_tag_is_no_formula_and_may_be_in_letters_that_the_font_does_not_have():
    assert draw(make_evaluation([r"$\x$", "演歌", "<b>&", "folk"]), "png")


def test_no_tag_that_is_defined_gives_an_empty_picture():
    assert draw(make_evaluation(["never"]), "png")


def test_a_picture_has_the_size_of_its_tags():
    def height(n_tags):
        return int.from_bytes(draw(make_evaluation([f"tag {number}" for number in range(n_tags)]), "png")[20:24])

    assert height(41) - height(21) == pytest.approx(20 * 0.19 * 150, abs=1)


def test_without_matplotlib_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OutputError, match="tagcli\\[plots\\]"):
        draw(make_evaluation(["rock", "folk"]))


def test_a_picture_needs_no_pyplot_and_the_room_no_matplotlib_until_it_draws():
    program = (
        "import sys, tagcli.figures.evaluation; assert 'matplotlib' not in sys.modules\n"
        "sys.path.insert(0, 'tests'); from test_figures import draw, make_evaluation\n"
        "draw(make_evaluation(['rock', 'folk'])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
