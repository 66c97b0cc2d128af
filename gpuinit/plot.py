"""Pictures: the signal through a network's depth, and weights beside the densities that were asked for."""

from gpuinit._plot.figures import histograms, signal
from gpuinit._plot.signals import Signal, signal_variances

__all__ = ["Signal", "histograms", "signal", "signal_variances"]
