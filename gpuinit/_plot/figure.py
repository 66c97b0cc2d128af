"""matplotlib's figure without pyplot: it needs no display, keeps no state, and a notebook shows it."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure as _Figure


class Figure(_Figure):
    """A `matplotlib.figure.Figure`, sized in inches, whose parts make room for each other."""

    def __init__(self, width: float, height: float, **options: Any) -> None:
        super().__init__(figsize=(width, height), dpi=100, layout="constrained", **options)

    def _repr_png_(self) -> bytes:
        """What IPython shows; of other figures it knows only where pyplot was set up."""
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()
