"""What the test's statistic looks like where nothing holds together, under a pair's own volatility.

The published distribution supposes returns of one variance. Those of coins are quiet for months and
wild for days, and the statistic of two unrelated coins is then far more often extreme. Here each
return of both legs keeps its size and its time and loses its sign, one sign for both legs:

    y*_t = y*_{t-1} + s_t (y_t - y_{t-1}),   x*_t = x*_{t-1} + s_t (x_t - x_{t-1}),   s_t = -1 or 1

So volatility, jumps and the correlation of the legs stay as they are, and every combination of the
legs is a walk. Cavaliere, Rahbek & Taylor (2010), Testing for co-integration in vector
autoregressions with non-stationary volatility, Journal of Econometrics 158.
"""

import numpy as np

from hft_lib.fitting.selection.engle_granger import direction
from hft_lib.kernel import kernel

_BITS = 64


@kernel(nogil=True)
def _next(state):
    """The next state of Marsaglia's xorshift of 64 bits (13, 7, 17); not 0 unless `state` is."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    return state ^ (state << np.uint64(17))


@kernel(nogil=True)
def wild_statistics(y_returns, x_returns, lags_max, seed, out):
    """Statistics of y on x and of x on y over walks with the sizes of these returns.

    `y_returns` and `x_returns` (time,); `out` (walks, 2); `seed` uint64, not 0.
    """
    n = y_returns.size
    y, x = np.empty(n + 1), np.empty(n + 1)
    state, one = seed, np.uint64(1)
    for walk in range(out.shape[0]):
        y[0], x[0] = 0.0, 0.0
        bits = state
        for t in range(n):
            if t % _BITS == 0:
                state = _next(state)
                bits = state
            if bits & one:
                y[t + 1], x[t + 1] = y[t] + y_returns[t], x[t] + x_returns[t]
            else:
                y[t + 1], x[t + 1] = y[t] - y_returns[t], x[t] - x_returns[t]
            bits >>= one
        out[walk, 0] = direction(y, x, lags_max)[0]
        out[walk, 1] = direction(x, y, lags_max)[0]
