"""The test behind `drift`: are the counts of one night those of the nights before?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Not scipy.stats: these few are all it takes, and load much sooner.
from scipy.special import chdtr, chdtrc, chdtri, fdtrc

from garments.morning.drift import NIGHTS_TO_SEE_SPREAD, THRESHOLD, Shift

_LEAST_EXPECTED = 5
# What comes on one night of each week is habit: no more than half of such nights are left out.
_NIGHTS_FOR_ONE_LEFT_OUT = 14

Table = npt.NDArray[np.float64]


def compare(tonight: Sequence[int], past: Sequence[Sequence[int]]) -> Shift | None:
    """How probable a night's counts are beside those of `past`.

    None where no two categories have enough photos. Of fewer than 3 nights it is Pearson's test, by
    which any two nights of a shop differ. With more it asks whether tonight differs from them by
    more than they do among each other: Pearson's X2 is divided by their dispersion (McCullagh and
    Nelder, "Generalized linear models", 1989, sections 4.5 and 9.2), and its degrees of freedom
    are Rao and Scott's of the second order (Annals of Statistics 12, 1984), since nights often vary
    along few directions, such as everything a little less sure. Of 3 or 4 nights that can miss
    a night that is all of one class, and of fewer than 10 it finds only what is glaring.

    One odd night makes that dispersion so large that it would hide whatever comes in the weeks
    after. So from 14 nights on `_without_odd` is asked too, and the smaller p-value counts, twice,
    since it is the smaller of two (Bonferroni).
    """
    table = _without_rare(np.array([tonight, *past], float))
    freedom = table.shape[1] - 1
    if not freedom:
        return None
    statistic = _far(table[0], table[1:].sum(axis=0))
    spread = _spread(table[1:], table[0].sum()) if len(past) >= NIGHTS_TO_SEE_SPREAD else None
    if spread is None:
        return Shift(float(chdtrc(freedom, statistic)), len(past))
    dispersion, directions = spread
    ratio = statistic / freedom / dispersion
    p = float(fdtrc(directions, directions * (len(past) - 1), ratio))
    if left_out := _farthest(table[1:]):
        return _clearer(p, dispersion, table, left_out)
    return Shift(p, len(past), dispersion)


def _clearer(p: float, dispersion: float, table: Table, left_out: list[int]) -> Shift:
    """What `_without_odd` says of the table's first row, or `p` of `dispersion` if that is less."""
    past = table[1:]
    kept = np.delete(past, left_out, axis=0)
    # The farthest of so many are far by chance more often than any one of them.
    odd = [
        index
        for index in left_out
        if _without_odd(past[index], kept, left_out)[0] * len(past) < THRESHOLD
    ]
    other = _without_odd(table[0], kept, left_out)
    if other[0] < p:
        return Shift(min(1.0, 2 * other[0]), len(past), other[1], len(left_out), tuple(odd))
    return Shift(min(1.0, 2 * p), len(past), dispersion, odd=tuple(odd))


def _without_odd(night: Table, kept: Table, left_out: Sequence[int]) -> tuple[float, float]:
    """The p-value of a night beside those `kept`, and their dispersion in the way that it differs.

    X2 is divided by how much the nights that are kept vary in the one direction in which this night
    lies from them. Whatever their covariance is, that exceeds no value more often than chi-squared
    does (for normal z and covariance V, (z'Vz)^2 / z'V^2z <= z'z by Cauchy and Schwarz), so that
    with the variance estimated it is at most F. What comes on one night of each week is not flagged
    then, though half of these nights are left out.
    """
    # Of a night larger than those kept the shares count, as if it were of their mean size: to bring
    # a dispersion to more photos multiplies the error of what exceeds chance, which along a single
    # direction is large, and F knows only of the error at their size.
    night = night * min(1.0, kept.sum() / len(kept) / night.sum())
    # Once more, since a category may be rare without the nights that were left out.
    table = _without_rare(np.vstack([night, kept]))
    freedom = table.shape[1] - 1
    if not freedom:
        return 1.0, 1.0
    night, kept = table[0], table[1:]
    pooled = kept.sum(axis=0)
    there = pooled > 0
    shares = pooled[there] / pooled.sum()
    way = (night[there] / night.sum() - shares) / np.sqrt(shares)
    length = np.linalg.norm(way)
    along = _residuals(kept[:, there]) @ (way / length) if length else np.zeros(len(kept))
    share = len(left_out) / (len(kept) + len(left_out))
    dispersion = _dispersion(float((along**2).sum()) * _missed(share, freedom), kept, night.sum())
    ratio = _far(night, pooled) / freedom / dispersion
    return float(fdtrc(freedom, len(kept) - 1, ratio)), dispersion


def _farthest(past: Table) -> list[int]:
    """The indexes of the nights to leave out: one of every 14, each the farthest from the rest.

    One after the other, since an odd night makes the usual ones look odd.
    """
    kept = list(range(len(past)))
    for _ in range(len(past) // _NIGHTS_FOR_ONE_LEFT_OUT):
        rows = past[kept]
        rows = rows[:, rows.any(axis=0)]
        photos, sums = rows.sum(axis=1, keepdims=True), rows.sum(axis=0)
        others = sums.sum() - photos
        # X2 of each night beside all others.
        far = (rows * others - (sums - rows) * photos) ** 2 / (photos * others * sums)
        kept.pop(int(far.sum(axis=1).argmax()))
    return sorted(set(range(len(past))) - set(kept))


def _missed(share: float, freedom: int) -> float:
    """What the sum of squares is multiplied by since the farthest `share` of nights is left out.

    As if X2 were distributed as chi-squared, of which the upper tail is cut off: Croux and
    Haesbroeck, Journal of Multivariate Analysis 71, 1999, for the minimum covariance determinant.
    """
    return (1 - share) / float(chdtr(freedom + 2, chdtri(freedom, share)))


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


def _far(one: Table, other: Table) -> float:
    """Pearson's X2 of two rows of counts."""
    there = one + other > 0
    return float((_residuals(np.stack([one[there], other[there]])) ** 2).sum())


def _spread(past: Table, photos: float) -> tuple[float, float] | None:
    """The dispersion of a night of `photos`, and along how many directions the nights vary.

    None where all photos of `past` (nights, categories) are of one category.
    """
    past = past[:, past.any(axis=0)]
    freedom = past.shape[1] - 1
    if not freedom:
        return None
    residuals = _residuals(past)
    dispersion = _dispersion(float((residuals**2).sum()) / freedom, past, photos)
    products = residuals @ residuals.T
    if not products.any():  # the nights are all the same
        return dispersion, freedom
    return dispersion, float(np.trace(products) ** 2 / (products**2).sum())


def _dispersion(statistic: float, past: Table, photos: float) -> float:
    """The dispersion of a night of `photos`, at least 1, of what is one a night by chance alone."""
    # Where shares vary from night to night, a night is the further off the more photos it has:
    # by 1 + (n - 1) * correlation, as in Williams, Applied Statistics 31, 1982, model II. Where
    # equal items come in clumps, it is not. The larger answer flags neither for nothing.
    nights, sizes, total = len(past), past.sum(axis=1), past.sum()
    correlation = (statistic - (nights - 1)) / ((sizes - 1) * (1 - sizes / total)).sum()
    correlation = max(0.0, float(correlation))
    variance = (1 + (photos - 1) * correlation) / photos
    variance += (sizes * (1 + (sizes - 1) * correlation)).sum() / total**2
    return float(max(1.0, statistic / (nights - 1), variance / (1 / photos + 1 / total)))
