"""How sure a share is: of how many examples it was counted, and of how many groups they are."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit  # type: ignore[import-untyped]  # it has no annotations

from tagcli.metrics.resampling import CONFIDENCE, Interval

_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def wilson_interval(share: float, n: float) -> Interval:
    """Find the interval of a share that was counted of `n` examples; nan when there are none.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22(158).

    Parameters
    ----------
    share
        In [0, 1].
    n
        Number of examples, from 0 up; need not be whole.
    """
    if not n:
        return Interval(math.nan, math.nan)
    center = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    margin = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Interval(0.0 if share == 0 else center - margin, 1.0 if share == 1 else center + margin)


def count_effectively(hits: npt.NDArray[np.bool_], groups: npt.NDArray[np.intp]) -> float:
    """Count the independent examples that would tell as much of a share as these do, which come in groups.

    Source: Kish 1965, "Survey Sampling", section 8.2 (design effect); for Wilson's interval, with the degrees of
    freedom that few groups leave, Dean & Pagano 2015, "Evaluating confidence interval methods for binomial proportions
    in clustered surveys", Journal of Survey Statistics and Methodology 3(4).

    Parameters
    ----------
    hits
        Which examples count for the share [shape=(n_examples,)].
    groups
        Number of the group of each example [shape=(n_examples,)].

    Returns
    -------
    float
        The number of examples when each is its own group; the number of groups when all examples or none are hits;
        else fewer than there are examples, and fewer than 1 where two or three groups contradict each other.
    """
    n = len(hits)
    codes = np.unique(groups, return_inverse=True)[1]
    n_groups = int(codes.max(initial=-1)) + 1
    share = float(hits.mean()) if n else 0.0
    if n_groups in (0, 1, n) or share in (0.0, 1.0):
        return float(n_groups)
    surplus = np.bincount(codes, weights=hits - share)
    design_effect = n_groups / (n_groups - 1) * float(surplus @ surplus) / (n * share * (1 - share))
    spread = float(stdtrit(n_groups - 1, (1 + CONFIDENCE) / 2)) / _Z
    return n / max(1.0, design_effect) / spread**2
