"""One dataset as Dagster sees it: its recipe, the store of its tables, the names of its assets, jobs and sensors.

Several can stand in one Dagster project: each has a prefix of its own in the keys of its assets and in the names of
everything else, which Dagster wants to be different in a code location.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Recipe

if TYPE_CHECKING:
    from synthvlm_dagster.store.storage import Storage

DATASET_TAG = "synthvlm/dataset"
"""On each asset: the dataset that it belongs to, so that `tag:synthvlm/dataset=…` finds them together."""

_LONGEST_TAG = 63
"""Characters that Dagster takes."""
_PREFIX = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*")

WHAT_A_PREFIX_IS = "begin with a letter, and use letters, digits and single underscores between them alone"


def is_prefix(part: str) -> bool:
    """Whether keys of assets can begin with it, and no two prefixes give a name twice: `a__b` would be as `[a, b]`."""
    return _PREFIX.fullmatch(part) is not None


class Dataset:
    """A recipe, its store, and the names of its definitions.

    Args:
        recipe: what to build.
        key_prefix: put before every asset's key, as Dagster's own `key_prefix`; before the names of jobs, schedules,
            sensors and groups with two underscores. None: nothing, for the only dataset of a code location.

    Raises:
        RecipeError: a part of the prefix is no name for Dagster.
    """

    def __init__(self, recipe: Recipe, key_prefix: str | Sequence[str] | None = None) -> None:
        self.recipe = recipe
        self.prefix = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix or ())
        for part in self.prefix:
            if not is_prefix(part):
                raise RecipeError(f"key_prefix: {part!r} cannot be part of the keys of assets: {WHAT_A_PREFIX_IS}")

    @cached_property
    def storage(self) -> Storage:
        """The recipe's store; opened when it is first asked for, never when definitions load."""
        from synthvlm_dagster.store.storage import Storage

        return Storage(self.recipe.storage)

    @cached_property
    def shards(self) -> dg.StaticPartitionsDefinition:
        """The partitions of images and scores."""
        return dg.StaticPartitionsDefinition(self.recipe.shard_keys)

    def key(self, asset: str) -> dg.AssetKey:
        """Key of one of the dataset's assets."""
        return dg.AssetKey([*self.prefix, asset])

    def name(self, name: str) -> str:
        """What a job, op, schedule or sensor of the dataset is called."""
        return "__".join((*self.prefix, name))

    def owns(self, spec: dg.AssetSpec) -> bool:
        """Whether an asset of a code location is one of the dataset's."""
        return DATASET_TAG in spec.tags and tuple(spec.key.path[:-1]) == self.prefix

    def of_stage(self, stage: str) -> dict[str, Any]:
        """What all assets of a stage have in common: the arguments group_name, owners and tags of `dagster.asset`."""
        return {
            "group_name": self.name(stage),
            "owners": list(self.recipe.operations.owners),
            "tags": {DATASET_TAG: self.name(self.recipe.name)[:_LONGEST_TAG]},
        }
