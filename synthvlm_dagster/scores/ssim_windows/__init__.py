"""The windows of SSIM, one kind in each file."""

from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.scores.ssim_window import SsimWindow

__all__ = ["SSIM_WINDOWS"]

SSIM_WINDOWS: dict[str, SsimWindow] = find_parts(__name__, "WINDOW")
"""By the name that they have in the recipe."""
