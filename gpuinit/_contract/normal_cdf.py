"""The normal CDF on the host, in decimal arithmetic: the same digits on every machine, which libm's erf is not."""

from __future__ import annotations

import functools
import math
from decimal import Context, Decimal, localcontext

BITS = 64  # of a probability in fixed point
MOST_BITS = 128  # behind the point, of a tail's
_DIGITS = Context(prec=110)
_SQRT_2PI = Decimal(
    "2.50662827463100050241576528481104525300698674060993831662992357634229365460784197494659583837805726611600997"
)
# Beyond 16 std the tail is smaller than 2**-128 by a factor of 1e18, and within 1e-40 std of the mean Phi is 1/2 to 40 digits:
# of Phi in fixed point, rounded down, only the side matters then.
_FAR = 16
_FAR_TAIL = Decimal("1e-58")
_NEAR = 1e-40


def cdf(x: float) -> Decimal:
    """Phi(x) for any float, infinite ones included; never on the other side of 0, 1/2 or 1.

    The absolute error is below 1e-40, in the lower tail below 1e-57.
    """
    if math.isinf(x):
        return Decimal(1 if x > 0 else 0)
    with localcontext(_DIGITS):
        if abs(x) > _FAR:
            return 1 - _FAR_TAIL if x > 0 else _FAR_TAIL
        # Phi(x) = 1/2 + phi(x) * (x + x**3/3 + x**5/(3*5) + ...): Marsaglia (2004), "Evaluating the normal distribution".
        z = Decimal(math.copysign(max(abs(x), _NEAR), x) if x else 0)
        square = z * z
        term = total = z
        odd = 1
        while abs(term) > Decimal("1e-60"):
            odd += 2
            term = term * square / odd
            total += term
        return Decimal("0.5") + total * (-square / 2).exp() / _SQRT_2PI


@functools.lru_cache(maxsize=1024)
def interval(alpha: float, beta: float) -> tuple[int, int, int]:
    """Start and width of [Phi(alpha), Phi(beta)], alpha <= 0, as 64-bit integers in units of 2**-bits, rounded down; and bits.

    In the lower tail, the unit is the least in which Phi(beta) is below 2**63.
    """
    low, high = cdf(alpha), cdf(beta)
    with localcontext(_DIGITS):
        spare = MOST_BITS - 1 - int(high * 2**MOST_BITS).bit_length()
        bits = min(BITS + max(0, spare), MOST_BITS)
        return int(low * 2**bits), min(int((high - low) * 2**bits), 2**BITS - 1), bits
