"""The test behind `drift`: are the counts of one night those of the nights before?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Not scipy.stats: these two are all it takes, and load much sooner.
from scipy.special import chdtrc, fdtrc

_LEAST_EXPECTED = 5
_NIGHTS_TO_SEE_SPREAD = 3

Table = npt.NDArray[np.float64]


def compare(
    tonight: Sequence[int], past: Sequence[Sequence[int]]
) -> tuple[float, float | None] | None:
    """The p-value of a night's counts, and the dispersion of `past` where it can be told.

    None where no two categories have enough photos. Of fewer than 3 nights it is Pearson's test, by
    which any two nights of a shop differ. With more it asks whether tonight differs from them by
    more than they do among each other: Pearson's X2 is divided by their dispersion (McCullagh and
    Nelder, "Generalized linear models", 1989, sections 4.5 and 9.2), and its degrees of freedom
    are Rao and Scott's of the second order (Annals of Statistics 12, 1984), since nights often vary
    along few directions, such as everything a little less sure. Of 3 or 4 nights that finds only
    what is glaring.
    """
    table = _without_rare(np.array([tonight, *past], float))
    freedom = table.shape[1] - 1
    if not freedom:
        return None
    statistic = float((_residuals(np.stack([table[0], table[1:].sum(axis=0)])) ** 2).sum())
    spread = _spread(table[1:], table[0].sum()) if len(past) >= _NIGHTS_TO_SEE_SPREAD else None
    if spread is None:
        return float(chdtrc(freedom, statistic)), None
    dispersion, directions = spread
    ratio = statistic / freedom / dispersion
    p = fdtrc(directions, directions * (len(past) - 1), ratio)
    return float(p), dispersion


def _without_rare(table: Table) -> Table:
    """The table (nights, categories), the rarest categories added up until none is too rare.

    Its first row is compared with the sum of the others.
    """
    tonight, all_nights = table[0].sum(), table.sum()
    share = min(tonight, all_nights - tonight) / all_nights
    columns: list[Table] = sorted(table.T, key=np.sum)
    while len(columns) > 1 and columns[0].sum() * share < _LEAST_EXPECTED:
        columns = sorted([columns[0] + columns[1], *columns[2:]], key=np.sum)
    return np.stack(columns, axis=1)


def _residuals(table: Table) -> Table:
    """Pearson's: their squares add up to X2."""
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return np.asarray((table - expected) / np.sqrt(expected))


def _spread(past: Table, photos: float) -> tuple[float, float] | None:
    """The dispersion of a night of `photos`, and along how many directions the nights vary.

    None where all photos of `past` (nights, categories) are of one category.
    """
    past = past[:, past.any(axis=0)]
    nights, freedom = len(past), past.shape[1] - 1
    if not freedom:
        return None
    residuals = _residuals(past)
    statistic = (residuals**2).sum() / freedom
    # Where shares vary from night to night, a night is the further off the more photos it has:
    # by 1 + (n - 1) * correlation, as in Williams, Applied Statistics 31, 1982, model II. Where
    # equal items come in clumps, it is not. The larger answer flags neither for nothing.
    sizes, total = past.sum(axis=1), past.sum()
    correlation = (statistic - (nights - 1)) / ((sizes - 1) * (1 - sizes / total)).sum()
    correlation = max(0.0, float(correlation))
    variance = (1 + (photos - 1) * correlation) / photos
    variance += (sizes * (1 + (sizes - 1) * correlation)).sum() / total**2
    dispersion = max(1.0, statistic / (nights - 1), variance / (1 / photos + 1 / total))
    products = residuals @ residuals.T
    if not products.any():  # the nights are all the same
        return dispersion, freedom
    return dispersion, float(np.trace(products) ** 2 / (products**2).sum())
