"""Files of tensors (safetensors), filled by rules."""

from gpuinit._models.checkpoint import initialize_file

__all__ = ["initialize_file"]
