"""Windows of 7×7 pixels alike, with the covariances of a sample: scikit-image's defaults."""

from __future__ import annotations

from functools import partial

from synthvlm_dagster.scores.ssim_kernels import uniform_ssim
from synthvlm_dagster.scores.ssim_window import SsimWindow

_SIDE = 7

WINDOW = SsimWindow("uniform", side=_SIDE, similarity=partial(uniform_ssim, side=_SIDE))
