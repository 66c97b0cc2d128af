"""The commands of `python -m gpuinit`, one module each."""
