"""Engle and Granger's test of a pair, compiled: the same statistic as statsmodels' `coint`.

    y_t = a + b x_t + e_t                                                     (least squares)
    d_t = c e_{t-1} + g_1 d_{t-1} + ... + g_k d_{t-k} + noise,   d_t = e_t - e_{t-1}
    statistic = c / standard error of c

`k` has the least Akaike criterion, N log(SSR) + 2 (k + 1), of the regressions with 0 to `lags_max`
lags on their common rows; the statistic is of the regression with `k` lags on all of its own rows.

What makes it fast: all cross-products of the regression follow from the autocovariances of d at
lags 0 to `lags_max`, by moving the window a row at a time, so the data are read once and not once a
lag; one Cholesky factor then holds the SSR of every nested regression.

Engle & Granger (1987); Said & Dickey (1984) for the lags.
"""

import math

import numpy as np

from hft_lib.kernel import kernel
from hft_lib.models.special import log

# Where the fit leaves less of the variance than rounding does, the residual says nothing.
_RESIDUAL_SHARE_MIN = 1e-24


@kernel(nogil=True)
def residual(y, x, out):
    """Least squares of `y` on `x` and a constant: (slope, intercept, r squared), residual in `out`.

    All arrays (time,). NaN where a leg does not move.
    """
    n = y.size
    y_sum, x_sum = 0.0, 0.0
    for t in range(n):
        y_sum += y[t]
        x_sum += x[t]
    y_mean, x_mean = y_sum / n, x_sum / n
    yy, xx, xy = 0.0, 0.0, 0.0
    for t in range(n):
        a, b = y[t] - y_mean, x[t] - x_mean
        yy += a * a
        xx += b * b
        xy += a * b
    if not (xx > 0.0 and yy > 0.0):
        return math.nan, math.nan, math.nan
    slope = xy / xx
    left = 0.0
    for t in range(n):
        e = y[t] - y_mean - slope * (x[t] - x_mean)
        out[t] = e
        left += e * e
    return slope, y_mean - slope * x_mean, 1.0 - left / yy


@kernel(nogil=True)
def _autocovariances(d, first, lags, out):
    """out[j] = sum of d_t d_{t-j} over t from `first` on, j from 0 to `lags`; d (time,)."""
    n = d.size
    # Backwards, the terms of one t lie side by side and the sums of all lags go on at once.
    back = np.empty(n)
    for t in range(n):
        back[t] = d[n - 1 - t]
    for j in range(lags + 1):
        out[j] = 0.0
    count = n - first
    whole = count - count % 4
    for k in range(0, whole, 4):
        a, b, c, e = back[k], back[k + 1], back[k + 2], back[k + 3]
        for j in range(lags + 1):
            out[j] += (a * back[k + j] + b * back[k + 1 + j]) + (
                c * back[k + 2 + j] + e * back[k + 3 + j]
            )
    for k in range(whole, count):
        for j in range(lags + 1):
            out[j] += back[k] * back[k + j]


@kernel(nogil=True)
def _moments(e, d, lags, gram, right):
    """Cross-products over the rows t = lags + 1, ...: returns the sum of d_t squared.

    Columns: e_{t-1}, d_{t-1}, ..., d_{t-lags}; `gram` (lags + 1, lags + 1) theirs, `right` with
    d_t. `d` (time,) has d_0 = 0, which no row reads.
    """
    n, first = e.size, lags + 1
    row = np.empty(lags + 1)
    _autocovariances(d, first, lags, row)
    square = row[0]
    for j in range(1, lags + 1):
        right[j] = row[j]
    # D(i + 1, j + 1) is D(i, j) over a window one row earlier.
    for i in range(lags):
        for j in range(i, lags):
            above = row[j] if i == 0 else gram[i, j]
            gram[i + 1, j + 1] = (
                above + d[first - 1 - i] * d[first - 1 - j] - d[n - 1 - i] * d[n - 1 - j]
            )
            gram[j + 1, i + 1] = gram[i + 1, j + 1]
    level, product = 0.0, 0.0
    for t in range(first, n):
        level += e[t - 1] * e[t - 1]
        product += e[t - 1] * d[t]
    gram[0, 0] = level
    right[0] = product
    # And so of the level, which is the level before plus d_{t-1}.
    above = product
    for j in range(lags):
        moved = e[first - 2] * d[first - 1 - j] - e[n - 2] * d[n - 1 - j]
        above = above + moved + gram[1, j + 1]
        gram[0, j + 1] = above
        gram[j + 1, 0] = above
    return square


@kernel(nogil=True)
def _factor(gram, right, size, factor, solved):
    """Lower Cholesky `factor` of gram[:size, :size], and `solved` = factor^-1 right.

    Returns the columns that are more than rounding.
    """
    for i in range(size):
        for j in range(i + 1):
            total = gram[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i > j:
                factor[i, j] = total / factor[j, j]
            elif total > 1e-13 * gram[i, i]:
                factor[i, i] = math.sqrt(total)
            else:
                return i
        total = right[i]
        for k in range(i):
            total -= factor[i, k] * solved[k]
        solved[i] = total / factor[i, i]
    return size


@kernel(nogil=True)
def _lags_chosen(square, solved, size, rows):
    """Lags of the regression with the least Akaike criterion; the first of equals."""
    best, chosen, left = math.inf, 0, square
    for i in range(size):
        left -= solved[i] * solved[i]
        if left <= 0.0:
            break
        criterion = rows * log(left) + 2.0 * (i + 1)
        if criterion < best:
            best, chosen = criterion, i
    return chosen


@kernel(nogil=True)
def _take_rows(e, d, first, last, lags, gram, right):
    """Add the rows first <= t < last to the moments of `lags` lags; returns their d_t squared."""
    square = 0.0
    row = np.empty(lags + 1)
    for t in range(first, last):
        row[0] = e[t - 1]
        for j in range(1, lags + 1):
            row[j] = d[t - j]
        for i in range(lags + 1):
            for j in range(lags + 1):
                gram[i, j] += row[i] * row[j]
            right[i] += row[i] * d[t]
        square += d[t] * d[t]
    return square


@kernel(nogil=True)
def adf(e, lags_max):
    """Dickey and Fuller's statistic of `e` (time,), without constant: (statistic, lags).

    NaN where `e` does not move, or has too few values for `lags_max` lags.
    """
    n = e.size
    if lags_max < 0 or n < 2 * lags_max + 4:
        return math.nan, 0
    d = np.empty(n)
    d[0] = 0.0
    for t in range(1, n):
        d[t] = e[t] - e[t - 1]
    size = lags_max + 1
    gram, factor = np.empty((size, size)), np.empty((size, size))
    right, solved = np.empty(size), np.empty(size)
    square = _moments(e, d, lags_max, gram, right)
    whole = _factor(gram, right, size, factor, solved)
    if whole == 0:
        return math.nan, 0
    lags = _lags_chosen(square, solved, whole, n - 1 - lags_max)
    square += _take_rows(e, d, lags + 1, lags_max + 1, lags, gram, right)
    # With the level as the last column, its standard error is the last pivot's.
    last = lags
    moved, moved_right = np.empty((lags + 1, lags + 1)), np.empty(lags + 1)
    for i in range(lags + 1):
        place = last if i == 0 else i - 1
        moved_right[place] = right[i]
        for j in range(lags + 1):
            moved[place, last if j == 0 else j - 1] = gram[i, j]
    if _factor(moved, moved_right, lags + 1, factor, solved) <= lags:
        return math.nan, lags
    left = square
    for i in range(lags + 1):
        left -= solved[i] * solved[i]
    freedom = n - 1 - lags - (lags + 1)
    if not (left > 0.0 and freedom > 0):
        return math.nan, lags
    return solved[last] / math.sqrt(left / freedom), lags


@kernel(nogil=True)
def direction(y, x, lags_max):
    """The test of `y` on `x`, (time,) each: (statistic, lags, slope, intercept, r squared)."""
    e = np.empty(y.size)
    slope, intercept, fit = residual(y, x, e)
    if not 1.0 - fit > _RESIDUAL_SHARE_MIN:
        return math.nan, 0, slope, intercept, fit
    statistic, lags = adf(e, lags_max)
    return statistic, lags, slope, intercept, fit


@kernel(nogil=True)
def both_directions(y, x, lags_max, out):
    """`direction` of y on x and of x on y into `out` (2, 5)."""
    out[0, 0], out[0, 1], out[0, 2], out[0, 3], out[0, 4] = direction(y, x, lags_max)
    out[1, 0], out[1, 1], out[1, 2], out[1, 3], out[1, 4] = direction(x, y, lags_max)
