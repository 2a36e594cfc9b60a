"""Java's StrictMath for numpy: exp, log, log10 and log1p with the same last bit as in Spark.

The C library's functions differ from Java's in the last bit of some values, and the hash of a row
sees that. These follow the algorithms and constants of fdlibm 5.3, which Java prescribes:
https://www.netlib.org/fdlibm/ (e_exp.c, e_log.c, e_log10.c, s_log1p.c).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Doubles = np.ndarray[Any, np.dtype[np.float64]]

_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_LG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_P = (
    1.66666666666666019037e-01,
    -2.77777777770155933842e-03,
    6.61375632143793436117e-05,
    -1.65339022054652515390e-06,
    4.13813679705723846039e-08,
)
_TWO54 = 2.0**54


def exp(x: Doubles) -> Doubles:
    """e**x."""
    with np.errstate(all="ignore"):
        magnitude = _high(x) & 0x7FFFFFFF
        negative = x < 0
        times = np.trunc(1.44269504088896338700 * x + np.where(negative, -0.5, 0.5))
        small = magnitude < 0x3FF0A2B2  # |x| < 1.5 ln 2
        times = np.where(small, np.where(negative, -1.0, 1.0), times)
        times = np.where(magnitude > 0x3FD62E42, times, 0.0)  # |x| <= 0.5 ln 2: no reduction
        times = np.where(np.isfinite(times) & (np.abs(x) < 800), times, 0.0)
        high = x - times * _LN2_HIGH
        low = times * _LN2_LOW
        reduced = np.where(times == 0, x, high - low)
        t = reduced * reduced
        c = reduced - t * (_P[0] + t * (_P[1] + t * (_P[2] + t * (_P[3] + t * _P[4]))))
        unreduced = 1.0 - ((reduced * c) / (c - 2.0) - reduced)
        y = 1.0 - ((low - (reduced * c) / (2.0 - c)) - high)
        k = times.astype(np.int64)
        tiny = k < -1021
        scaled = _add_exponent(y, np.where(tiny, k + 1000, k))
        result = np.where(tiny, scaled * 2.0**-1000, scaled)
        result = np.where(k == 0, unreduced, result)
        result = np.where(magnitude < 0x3E300000, 1.0 + x, result)
        result = np.where(x > 7.09782712893383973096e02, np.inf, result)
        result = np.where(x < -7.45133219101941108420e02, 0.0, result)
        return np.where(np.isnan(x), np.nan, result)


def log(x: Doubles) -> Doubles:
    """The natural logarithm; NaN below zero."""
    with np.errstate(all="ignore"):
        k, mantissa_high, x1 = _split(x)
        step = (mantissa_high + 0x95F64) & 0x100000
        x1 = _with_high(x1, mantissa_high | (step ^ 0x3FF00000))
        k = (k + (step >> 20)).astype(np.float64)
        f = x1 - 1.0
        near = f * f * (0.5 - 0.33333333333333333 * f)
        near = np.where(k == 0, f - near, k * _LN2_HIGH - ((near - k * _LN2_LOW) - f))
        near = np.where(f == 0, np.where(k == 0, 0.0, k * _LN2_HIGH + k * _LN2_LOW), near)
        s = f / (2.0 + f)
        z = s * s
        w = z * z
        even = w * (_LG[1] + w * (_LG[3] + w * _LG[5]))
        odd = z * (_LG[0] + w * (_LG[2] + w * (_LG[4] + w * _LG[6])))
        r = odd + even
        middle = ((mantissa_high - 0x6147A) | (0x6B851 - mantissa_high)) > 0
        half = 0.5 * f * f
        one = np.where(
            k == 0,
            f - (half - s * (half + r)),
            k * _LN2_HIGH - ((half - (s * (half + r) + k * _LN2_LOW)) - f),
        )
        other = np.where(
            k == 0, f - s * (f - r), k * _LN2_HIGH - ((s * (f - r) - k * _LN2_LOW) - f)
        )
        result = np.where(
            (0x000FFFFF & (2 + mantissa_high)) < 3, near, np.where(middle, one, other)
        )
        return _limits(result, x)


def log10(x: Doubles) -> Doubles:
    """The decimal logarithm; NaN below zero."""
    with np.errstate(all="ignore"):
        k, mantissa_high, x1 = _split(x)
        below = (k < 0).astype(np.int64)
        x1 = _with_high(x1, mantissa_high | ((0x3FF - below) << 20))
        y = (k + below).astype(np.float64)
        z = y * 3.69423907715893078616e-13 + 4.34294481903251816668e-01 * log(x1)
        return _limits(z + y * 3.01029995663611771306e-01, x)


def log1p(x: Doubles) -> Doubles:
    """log(1 + x); NaN below -1."""
    with np.errstate(all="ignore"):
        high = _high(x)
        # -0.2929 < x < 0.41422: no reduction.
        direct = (x < 0.5) & (high < 0x3FDA827A) & ((high > 0) | (high <= 0xBFD2BEC3 - 2**32))
        huge = high >= 0x43400000
        u = np.where(huge, x, 1.0 + x)
        high_u = _high(u)
        k = np.where(direct, 0, (high_u >> 20) - 1023)
        c = np.where(huge, 0.0, np.where(k > 0, 1.0 - (u - x), x - (u - 1.0)) / u)
        c = np.where(direct, 0.0, c)
        mantissa = high_u & 0x000FFFFF
        lower = mantissa < 0x6A09E
        u = _with_high(u, mantissa | np.where(lower, 0x3FF00000, 0x3FE00000))
        k = np.where(direct | lower, k, k + 1).astype(np.float64)
        mantissa = np.where(lower, mantissa, (0x00100000 - mantissa) >> 2)
        mantissa = np.where(direct, 1, mantissa)
        f = np.where(direct, x, u - 1.0)
        half = 0.5 * f * f
        near = half * (1.0 - 0.66666666666666666 * f)
        near = np.where(k == 0, f - near, k * _LN2_HIGH - ((near - (k * _LN2_LOW + c)) - f))
        near = np.where(f == 0, np.where(k == 0, 0.0, k * _LN2_HIGH + (c + k * _LN2_LOW)), near)
        s = f / (2.0 + f)
        z = s * s
        r: Any = _LG[6]
        for constant in reversed(_LG[:6]):
            r = constant + z * r
        r = z * r
        far = np.where(
            k == 0,
            f - (half - s * (half + r)),
            k * _LN2_HIGH - ((half - (s * (half + r) + (k * _LN2_LOW + c))) - f),
        )
        result = np.where(mantissa == 0, near, far)
        magnitude = high & 0x7FFFFFFF
        result = np.where(magnitude < 0x3E200000, x - x * x * 0.5, result)
        result = np.where(magnitude < 0x3C900000, x, result)
        result = np.where(x == -1, -np.inf, np.where(x < -1, np.nan, result))
        return np.where(np.isposinf(x) | np.isnan(x), x, result)


def _split(x: Doubles) -> tuple[Any, Any, Doubles]:
    """Exponent, high 20 bits of the mantissa, and x brought out of the subnormals."""
    subnormal = _high(x) < 0x00100000
    x = np.where(subnormal, x * _TWO54, x)
    high = _high(x)
    return np.where(subnormal, -54, 0) + (high >> 20) - 1023, high & 0x000FFFFF, x


def _limits(result: Doubles, x: Doubles) -> Doubles:
    result = np.where(x == 0, -np.inf, np.where(x < 0, np.nan, result))
    return np.where(np.isposinf(x) | np.isnan(x), x, result)


def _high(x: Doubles) -> Any:
    """The upper 32 bits, signed."""
    return np.ascontiguousarray(x).view(np.int64) >> 32


def _with_high(x: Doubles, high: Any) -> Doubles:
    low = np.ascontiguousarray(x).view(np.int64) & 0xFFFFFFFF
    return ((np.asarray(high, dtype=np.int64) << 32) | low).view(np.float64)


def _add_exponent(x: Doubles, exponent: Any) -> Doubles:
    return (np.ascontiguousarray(x).view(np.int64) + (exponent << 52)).view(np.float64)
