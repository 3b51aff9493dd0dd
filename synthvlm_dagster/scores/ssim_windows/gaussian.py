"""Windows of 11×11 pixels under a Gaussian of 1.5 pixels, with the covariances of a population (Wang et al., 2004)."""

from __future__ import annotations

from functools import partial

import numpy as np

from synthvlm_dagster.scores.ssim_kernels import weighted_ssim
from synthvlm_dagster.scores.ssim_window import SsimWindow

_SIGMA = 1.5
_RADIUS = 5
"""Pixels: scikit-image cuts the Gaussian off at 3.5 sigma."""
_AROUND = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)

WINDOW = SsimWindow(
    "gaussian",
    side=2 * _RADIUS + 1,
    similarity=partial(weighted_ssim, weights=_AROUND / _AROUND.sum()),
    scikit_image={"gaussian_weights": True, "sigma": _SIGMA, "use_sample_covariance": False},
)
