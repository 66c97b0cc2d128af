"""Files of tensors (safetensors), one or a folder of them, filled by rules."""

from gpuinit._models.checkpoint import initialize_file

__all__ = ["initialize_file"]
