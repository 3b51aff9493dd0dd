"""The numbers and examples of the report, read from the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.dataset.thumbnails import data_uri, thumbnail
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.shard import read_scores
from synthvlm_dagster.storage import Storage

MEASURES = {"clip_score": "CLIPScore", "ssim": "SSIM", "weighted_score": "Weighted score"}
"""Score columns and what people call them."""

BINS = 32
POINTS = 1200
EXAMPLES_PER_RULE = 4
