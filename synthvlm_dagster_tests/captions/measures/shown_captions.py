"""Scenes of the demo's world as original images, each with a caption that fits it and one that does not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from synthvlm_dagster.demo import world

SHOWN_SCHEMA = pl.Schema({"key": pl.String, "text": pl.String, "image_uri": pl.String})


def shown_captions(scenes: Sequence[world.Scene], folder: Path) -> pl.DataFrame:
    """Key `right-N` or `wrong-N`, text and image_uri: the wrong caption of a scene is the right one of the next."""
    chance = np.random.default_rng(0)
    rows = []
    for number, scene in enumerate(scenes):
        picture = folder / f"{number}.png"
        Image.fromarray(world.render(scene, chance)).save(picture)
        other = scenes[(number + 1) % len(scenes)]
        rows.append((f"right-{number}", world.write_caption(scene, chance), str(picture)))
        rows.append((f"wrong-{number}", world.write_caption(other, chance), str(picture)))
    return pl.DataFrame(rows, schema=SHOWN_SCHEMA, orient="row")
