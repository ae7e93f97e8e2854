"""Exponential, logarithm and log-gamma of our own: the same bits on every machine.

The C library's, numpy's and numba's versions differ in the last bit from machine to machine; these
use only + - * /, the fused multiply-add (rounded once, as IEEE 754 says) and the bits of a float64,
so that amd64 and arm64 agree. `exp` and `log` have no
branches, so that loops over cells are vectorised. All three are within 2 ulp of the exact value.

    exp(x)    = 2^k exp(r),        k = round(x / ln 2), r = x - k ln 2,   exp(r) = 1 + r + r^2 Q(r)
    log(x)    = k ln 2 + log(1+f), x = 2^k (1+f), s = f / (2+f),          log(1+f) = 2 s + s^3
    R(s^2) lgamma(x) = (x - 1/2)(log x - 1) + c + sum_j B_2j / (2j (2j-1) x^(2j-1))     for x >= 8
    (Stirling)

`exp2` and `log2` are the hot loops' versions, with half the work: fused, to base 2, no guards.
Their relative errors are below 8e-16 (absolute ones, of a logarithm below 1).

Below 8 lgamma is a polynomial about each zero (1 and 2) and lgamma(x+1) = lgamma(x) + log x. The
coefficients are Chebyshev fits made with 60 digits.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic

from hft_lib.kernel import kernel

# Adding 1.5 * 2^52 leaves the nearest integer of a float64 in its low bits.
_ROUND = 6755399441055744.0
_ROUND_BITS = np.uint64(0x4338000000000000)
_LN2_HIGH = 0.6931467056274414  # 21 significant bits, so that k * _LN2_HIGH is exact
_LN2_LOW = 4.7493250390316726e-07
_LN2_INVERSE = 1.4426950408889634
_ONE_BITS = np.uint64(0x3FF0000000000000)
_SQRT_HALF_BITS = np.uint64(0x3FE6A09E667F3BCD)
_NORMAL_MIN = 2.2250738585072014e-308
_TWO_54 = 18014398509481984.0
_STIRLING_CONSTANT = 0.4189385332046727  # (log(2 pi) - 1) / 2
# 2^r for r between -1/2 and 1/2, from the constant on.
EXP2_SERIES = (
    1.0,
    0.6931471805599462,
    0.24022650695910075,
    0.05550410866465167,
    0.009618129107618665,
    0.0013333558200794592,
    0.00015403530424776529,
    1.5252672924850737e-05,
    1.3215451633221434e-06,
    1.0205905413765595e-07,
    7.070977866508138e-09,
)


@kernel
def _bits(x: float) -> np.uint64:
    return np.float64(x).view(np.uint64)


@kernel
def _from_bits(bits: np.uint64) -> float:
    return np.uint64(bits).view(np.float64)


@intrinsic
def _fused(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    signature = types.float64(types.float64, types.float64, types.float64)
    return signature, lambda _context, builder, _signature, arguments: builder.fma(*arguments)


# a * b + c, rounded once: one instruction, which vectors have. In kernels only.
fma = cast(Callable[[float, float, float], float], _fused)


@kernel
def exp(x: float) -> float:
    """e to the power `x`; 0 below -745.14, infinite above 709.79, NaN for NaN."""
    x = 710.0 if x > 710.0 else x
    x = -746.0 if x < -746.0 else x
    shifted = x * _LN2_INVERSE + _ROUND
    k = shifted - _ROUND
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    series = 1.608662795678037e-10
    series = series * r + 2.0918137737642736e-09
    series = series * r + 2.505207109429355e-08
    series = series * r + 2.75572632790885e-07
    series = series * r + 2.755731924721873e-06
    series = series * r + 2.4801587336442236e-05
    series = series * r + 0.00019841269841263298
    series = series * r + 0.0013888888888879073
    series = series * r + 0.008333333333333333
    series = series * r + 0.04166666666666668
    series = series * r + 0.16666666666666666
    series = series * r + 0.5
    power = 1.0 + (r + (((high - r) - low) + r * r * series))
    # 2^k in two factors, so that subnormal results are rounded once; unsigned shifts, which vectors
    # have.
    biased = _bits(shifted) - _ROUND_BITS + np.uint64(2046)
    half = biased >> np.uint64(1)
    return power * _from_bits(half << np.uint64(52)) * _from_bits((biased - half) << np.uint64(52))


@kernel
def log_parts(x: float) -> tuple[float, float]:
    """The natural logarithm of a positive finite `x` as a head and a small tail; the tail holds the
    head's rounding.
    """
    subnormal = x < _NORMAL_MIN
    scaled = _bits(x * _TWO_54 if subnormal else x)
    biased = (scaled + (_ONE_BITS - _SQRT_HALF_BITS)) >> np.uint64(
        52
    )  # k + 1023, for 1 + f from sqrt(1/2) to sqrt(2)
    f = _from_bits((scaled + _ONE_BITS) - (biased << np.uint64(52))) - 1.0
    k = (_from_bits(biased + _ROUND_BITS) - _ROUND) - 1023.0
    k = k - 54.0 if subnormal else k
    s = f / (2.0 + f)
    z = s * s
    series = 0.13086907887965027
    series = series * z + 0.13268746195596595
    series = series * z + 0.15386240708969665
    series = series * z + 0.18181795621632782
    series = series * z + 0.22222222391887064
    series = series * z + 0.2857142857080285
    series = series * z + 0.4000000000000088
    series = series * z + 0.6666666666666666
    half_square = 0.5 * f * f
    head = k * _LN2_HIGH + f
    rounding = (k * _LN2_HIGH - head) + f
    return head, rounding - (half_square - (s * (half_square + z * series) + k * _LN2_LOW))


@kernel
def log(x: float) -> float:
    """Natural logarithm of `x`; -infinite at 0, NaN below, infinite at infinity."""
    head, tail = log_parts(x)
    value = head + tail
    value = -np.inf if x == 0.0 else value
    value = np.nan if x < 0.0 else value
    return x if x == np.inf or x != x else value


@kernel
def exp2(x: float) -> float:
    """2 to the power `x`, which must be below 1023; what is below -1000 counts as -1000."""
    x = x if x > -1000.0 else -1000.0
    shifted = x + _ROUND
    r = x - (shifted - _ROUND)
    series = EXP2_SERIES[10]
    series = fma(series, r, EXP2_SERIES[9])
    series = fma(series, r, EXP2_SERIES[8])
    series = fma(series, r, EXP2_SERIES[7])
    series = fma(series, r, EXP2_SERIES[6])
    series = fma(series, r, EXP2_SERIES[5])
    series = fma(series, r, EXP2_SERIES[4])
    series = fma(series, r, EXP2_SERIES[3])
    series = fma(series, r, EXP2_SERIES[2])
    series = fma(series, r, EXP2_SERIES[1])
    series = fma(series, r, EXP2_SERIES[0])
    return _from_bits(_bits(series) + (_bits(shifted) << np.uint64(52)))


@kernel
def log2(x: float) -> float:
    """Logarithm to base 2 of `x`, which must be a positive normal float64."""
    bits = _bits(x)
    biased = (bits + (_ONE_BITS - _SQRT_HALF_BITS)) >> np.uint64(52)  # k + 1023, as in `log_parts`
    f = _from_bits((bits + _ONE_BITS) - (biased << np.uint64(52))) - 1.0
    k = _from_bits(biased + _ROUND_BITS) - (_ROUND + 1023.0)
    s = f / (2.0 + f)
    z = s * s
    series = 0.2429183013526297
    series = fma(series, z, 0.26144407006393944)
    series = fma(series, z, 0.3206163935263423)
    series = fma(series, z, 0.4121984019742357)
    series = fma(series, z, 0.5770780172467822)
    series = fma(series, z, 0.9617966939243335)
    series = fma(series, z, 2.885390081777927)
    return fma(s, series, k)


@kernel
def log_gamma(x: float) -> float:
    """Logarithm of the gamma function at `x` > 0; infinite at 0 and infinity, NaN below 0."""
    if not x > 0.0:
        return np.inf if x == 0.0 else np.nan
    if x >= 8.0:
        return _stirling(x)
    if x >= 3.0:
        return _above_three(x)
    if x >= 1.75:
        return _about_two(x - 2.0)
    if x >= 1.25:
        return _about_three_halves(x - 1.5)
    if x >= 0.75:
        return _about_one(x - 1.0)
    if x >= 0.25:
        return _about_three_halves(x - 0.5) - log(x)
    return _about_one(x) - log(x)


@kernel
def _stirling(x: float) -> float:
    if x > 2.6e305:
        return np.inf
    head, tail = log_parts(x)
    inverse = 1.0 / x
    z = inverse * inverse
    series = 0.17964437236883057
    series = series * z - 0.029550653594771242
    series = series * z + 0.00641025641025641
    series = series * z - 0.0019175269175269176
    series = series * z + 0.0008417508417508417
    series = series * z - 0.0005952380952380953
    series = series * z + 0.0007936507936507937
    series = series * z - 0.002777777777777778
    series = series * z + 0.08333333333333333
    return (x - 0.5) * (head - 1.0) + ((x - 0.5) * tail + (_STIRLING_CONSTANT + inverse * series))


@kernel
def _above_three(x: float) -> float:
    product = 1.0
    while x >= 3.0:
        x -= 1.0
        product *= x
    return log(product) + _about_two(x - 2.0)


@kernel
def _about_one(e: float) -> float:
    """lgamma(1 + e), |e| <= 1/4."""
    series = 0.0668720785318785
    series = series * e - 0.07029484756388002
    series = series * e + 0.05319051602021362
    series = series * e - 0.056348328950397764
    series = series * e + 0.06267952792218533
    series = series * e - 0.06685559490235758
    series = series * e + 0.0714248883747205
    series = series * e - 0.07692408371902587
    series = series * e + 0.08335406432754498
    series = series * e - 0.09095425132658988
    series = series * e + 0.10009945374190689
    series = series * e - 0.11133426192355116
    series = series * e + 0.1255096695611593
    series = series * e - 0.1440498968069531
    series = series * e + 0.16955717699722989
    series = series * e - 0.2073855510284874
    series = series * e + 0.27058080842778487
    series = series * e - 0.40068563438653176
    series = series * e + 0.8224670334241132
    series = series * e - 0.5772156649015329
    return e * series


@kernel
def _about_three_halves(e: float) -> float:
    """lgamma(3/2 + e), |e| <= 1/4."""
    series = -0.00016816792623728724
    series = series * e + 0.00027012807002572525
    series = series * e - 0.00039413010206369275
    series = series * e + 0.0006410880201159736
    series = series * e - 0.0010550033177893206
    series = series * e + 0.001745175160365432
    series = series * e - 0.0029209678778614225
    series = series * e + 0.0049657246984027605
    series = series * e - 0.008622603970362077
    series = series * e + 0.015435484235662433
    series = series * e - 0.02895208188857112
    series = series * e + 0.05871212641625463
    series = series * e - 0.1381327740390543
    series = series * e + 0.46740110027234116
    series = series * e + 0.03648997397857652
    series = series * e - 0.12078223763524522
    return series


@kernel
def _about_two(e: float) -> float:
    """lgamma(2 + e), -1/4 <= e <= 1."""
    series = -1.018772167725177e-09
    series = series * e + 1.0177216932852392e-08
    series = series * e - 4.953327883909663e-08
    series = series * e + 1.6150460263832583e-07
    series = series * e - 4.149112085351655e-07
    series = series * e + 9.414654250175671e-07
    series = series * e - 2.03819156898118e-06
    series = series * e + 4.376846358626722e-06
    series = series * e - 9.440451975330229e-06
    series = series * e + 2.0507293284113733e-05
    series = series * e - 4.4926166492079045e-05
    series = series * e + 9.945749253781188e-05
    series = series * e - 0.00022315475941178965
    series = series * e + 0.0005096695257747543
    series = series * e - 0.0011927539117611513
    series = series * e + 0.0028905103307193198
    series = series * e - 0.00738555102867203
    series = series * e + 0.02058080842778475
    series = series * e - 0.06735230105319812
    series = series * e + 0.3224670334241132
    series = series * e + 0.42278433509846713
    return e * series
