"""Evaluation: what a system says of a data set, measured by what the data set knows.

`tagcli.evaluation.scoring`, which has a model listen, brings torch along and is imported when it is needed.
"""

from tagcli.evaluation.agreement import Agreement, TagAgreement, agree, clear_labels, match_teacher
from tagcli.evaluation.alignment import Aligned, TagMatch, align, find_judgeable, match_tags
from tagcli.evaluation.comparison import Comparison, Difference, compare
from tagcli.evaluation.disagreements import Disagreement, find_disagreements
from tagcli.evaluation.evaluating import Estimate, Evaluation, MeanEvaluation, TagEvaluation, evaluate
from tagcli.evaluation.grouping import Grouping
from tagcli.evaluation.stored import read_tag_evaluations
from tagcli.evaluation.systems import SCORES_SUFFIX, SystemScores, read_scores, write_scores

__all__ = [
    "SCORES_SUFFIX",
    "Agreement",
    "Aligned",
    "Comparison",
    "Difference",
    "Disagreement",
    "Estimate",
    "Evaluation",
    "Grouping",
    "MeanEvaluation",
    "SystemScores",
    "TagAgreement",
    "TagEvaluation",
    "TagMatch",
    "agree",
    "align",
    "clear_labels",
    "compare",
    "evaluate",
    "find_disagreements",
    "find_judgeable",
    "match_tags",
    "match_teacher",
    "read_scores",
    "read_tag_evaluations",
    "write_scores",
]
