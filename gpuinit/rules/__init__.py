"""Rules that tell `gpuinit.initialize` what to do to which parameter: how they are written, and ready-made sets.

A rule is a pair (pattern, initializer), and a set of rules a list of them, so that sets are joined by `+`; the first rule that
matches a parameter counts.
"""

from gpuinit.rules.calls import by_param, keep
from gpuinit.rules.files import load

__all__ = ["by_param", "keep", "load"]
