"""A process that makes shards and can be stopped at a known place: `python -m … RECIPE LOG GENERATOR PAUSE SHARD…`.

RECIPE is JSON, LOG the file that gets the seeds, GENERATOR `noise` or `diffusers`. At every PAUSE (`denoise`, `unet`,
`write`: before a finished file gets its name; `never`) the process prints `paused` and waits for a line on its standard
input.
"""

import json
import sys
from pathlib import Path

import synthvlm_dagster.store.paths
from synthvlm_dagster.images.generator import Generator
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.images.noise import NoiseGenerator
from synthvlm_dagster_tests.shards import generate_shard


def pause(*_: object) -> None:
    """Wait for the parent."""
    sys.stdout.write("paused\n")
    sys.stdout.flush()
    sys.stdin.readline()


def make_generator(kind: str, recipe: Recipe, log: Path, where: str) -> Generator:
    if kind == "noise":
        return NoiseGenerator(log, on_denoise=pause if where == "denoise" else lambda: None)
    generator = DiffusersGenerator(recipe.generation)
    generator.load()
    generator._pipelines[0].unet.register_forward_pre_hook(pause if where == "unet" else lambda *_: None)
    return generator


def main(recipe_json: str, log: str, kind: str, where: str, *shards: str) -> None:
    recipe = Recipe.model_validate(json.loads(recipe_json))
    generator = make_generator(kind, recipe, Path(log), where)
    if where == "write":
        sync = synthvlm_dagster.store.paths.sync

        def sync_and_pause(path: Path) -> None:
            sync(path)
            if path.is_file():
                pause()

        synthvlm_dagster.store.paths.sync = sync_and_pause
    for shard in shards:
        generate_shard(recipe, Storage(recipe.storage), shard, generator)


if __name__ == "__main__":
    main(*sys.argv[1:])
