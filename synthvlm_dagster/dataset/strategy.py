"""What every strategy of selection is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from synthvlm_dagster.recipe import Selection


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way to say which of two images is better.

    Attributes:
        name: in the recipe, as `selection.strategy`.
        merit: the number that attempts and captions are compared by, more being better, of the scores with image_id,
            clip_score and ssim; by the recipe's selection and its seed. Any type of number.
        in_words: what images are compared by, such as `CLIPScore + 0.5 · SSIM`.
        weighs_ssim: whether `selection.ssim_weight` changes the merit.
        standardises: whether both terms are brought to the same spread first.
        audits: whether `selection.audit` sets images aside.
    """

    name: str
    merit: Callable[[pl.LazyFrame, Selection, int], pl.Expr]
    in_words: Callable[[Selection], str]
    weighs_ssim: bool = False
    standardises: bool = False
    audits: bool = False
