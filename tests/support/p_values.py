"""Statistical tests with fixed seeds: which p-values pass.

A p-value below ALPHA fails. Of a test that has several, the smallest is compared with ALPHA over their number (Bonferroni).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

ALPHA = 1e-4


def likely(p_values) -> bool:
    """Whether the smallest of the p-values passes as chance."""
    return bool(np.min(p_values) * np.size(p_values) > ALPHA)


def normal_p(z):
    """Two-sided p-values of standard normal statistics."""
    return 2 * stats.norm.sf(np.abs(z))


def near_mean(values, mean, variance):
    """p-value of the mean of independent values whose variance is known."""
    return normal_p((np.mean(values) - mean) * math.sqrt(np.size(values) / variance))
