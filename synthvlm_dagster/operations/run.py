"""Make what is missing, stage by stage, in this process, through the project's Dagster instance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import groupby

import dagster as dg

from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.outdated import shards_to_extend, shards_to_generate, shards_to_score, why_outdated
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.storage import Storage

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
ASSET_JOB = "__ASSET_JOB"
SHARD_WORK = {
    "generated_images": shards_to_generate,
    "image_scores": shards_to_score,
    "further_attempts": shards_to_extend,
}
"""The partitioned assets, in order, and what tells which of their shards have work left."""


class AssetSelectionError(SynthVLMError):
    """What a user typed selects no asset."""


@dataclass(frozen=True)
class Step:
    """One Dagster run to launch: some unpartitioned assets, or one asset over a contiguous range of shards."""

    assets: tuple[dg.AssetKey, ...]
    reason: str
    shards: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """The assets and the range of shards."""
        names = ", ".join(key.to_user_string() for key in self.assets)
        if not self.shards:
            return names
        return f"{names}, shard{' ' if len(self.shards) == 1 else 's '}" + "–".join(
            dict.fromkeys((self.shards[0], self.shards[-1]))
        )


class Pipeline:
    """The asset graph of a code location, an instance that records it, and the recipe and store it works on.

    Args:
        repository: the code location, as `Definitions.get_repository_def` or the context of an op gives it.
        instance: records the runs.
        recipe: what to build.
        storage: the recipe's store.
    """

    def __init__(
        self,
        repository: dg.RepositoryDefinition,
        instance: dg.DagsterInstance,
        recipe: Recipe,
        storage: Storage,
    ) -> None:
        self.recipe = recipe
        self.storage = storage
        self._repository = repository
        self.instance = instance
        specs = {spec.key: spec for asset in repository.assets_defs_by_key.values() for spec in asset.specs}
        order = TopologicalSorter({key: sorted(dep.asset_key for dep in specs[key].deps) for key in sorted(specs)})
        self._specs = {key: specs[key] for key in order.static_order()}

    def asset_keys(self) -> list[dg.AssetKey]:
        """Every asset, upstream first."""
        return list(self._specs)

    def resolve_selection(self, selection: str) -> set[dg.AssetKey]:
        """Assets that a selection in Dagster's syntax names, e.g. `key:"image_scores"+` or `group:"dataset"`.

        Raises:
            AssetSelectionError: the syntax is wrong, or no asset is meant.
        """
        try:
            with warnings.catch_warnings():
                # Dagster warns of what it itself does for `group:`.
                warnings.simplefilter("ignore", dg.BetaWarning)
                selected = dg.AssetSelection.from_string(selection).resolve(self._repository.asset_graph)
        except dg.DagsterError as error:
            raise AssetSelectionError(
                f"{selection!r} is no asset selection: {error}. Write for example "
                '\'group:"captions"\' or \'key:"raw_captions" or key:"curated_captions"\''
            ) from error
        if not selected:
            names = ", ".join(key.to_user_string() for key in self._specs)
            raise AssetSelectionError(f"{selection!r} selects no asset; there are: {names}")
        return set(selected)

    def outdated(self, key: dg.AssetKey) -> str | None:
        """Why an unpartitioned asset needs a run, or None; see `why_outdated`."""
        parents = [self._specs[parent] for parent in self._parents(key)]
        return why_outdated(self._specs[key], parents, self.instance, self.recipe, self.storage)

    def shards_with_work(self, key: dg.AssetKey) -> list[str]:
        """Partition keys of a partitioned asset that need a run, in order."""
        return SHARD_WORK[key.to_user_string()](self.instance, self.recipe, self.storage)

    def is_partitioned(self, key: dg.AssetKey) -> bool:
        """Whether the asset is made shard by shard."""
        return self._specs[key].partitions_def is not None

    def run_missing(
        self,
        selected: set[dg.AssetKey],
        only_shards: Sequence[str] | None,
        tags: Mapping[str, str],
        on_step: Callable[[Step], None],
    ) -> bool:
        """Launch a run for each step that has work left, one after the other, in the order of the pipeline.

        Assets that need every shard wait while `only_shards` leaves some out.

        Args:
            selected: the assets to look at; the others are left as they are.
            only_shards: partition keys to work on; None for all.
            tags: given to each run.
            on_step: called before each run.

        Returns:
            Whether every run succeeded; what comes after an asset with a failed run is not begun.
        """
        waiting_for: set[str] = set()
        for level in self._levels(selected):
            steps = list(self._steps(level, only_shards))
            if waiting_for and not self.is_partitioned(level[0]):
                if steps:
                    on_step(replace(steps[0], reason=f"waits for the shards {', '.join(sorted(waiting_for))}"))
                return True
            succeeded = True
            for step in steps:
                on_step(step)
                succeeded = self._launch(step, tags) and succeeded
            if not succeeded:
                return False
            if self.is_partitioned(level[0]) and only_shards is not None:
                waiting_for.update(set(self.shards_with_work(level[0])) - set(only_shards))
        return True

    def _levels(self, selected: set[dg.AssetKey]) -> Iterator[list[dg.AssetKey]]:
        """Selected assets in runs: neighbours without partitions together, each partitioned one by itself."""
        chosen = [key for key in self._specs if key in selected]
        for partitioned, keys in groupby(chosen, self.is_partitioned):
            group = list(keys)
            yield from ([key] for key in group) if partitioned else [group]

    def _steps(self, level: list[dg.AssetKey], only_shards: Sequence[str] | None) -> Iterator[Step]:
        if not self.is_partitioned(level[0]):
            yield from self._unpartitioned_step(level)
            return
        shards = [shard for shard in self.shards_with_work(level[0]) if only_shards is None or shard in only_shards]
        for block in contiguous_blocks(shards, self.recipe.shard_keys):
            yield Step((level[0],), f"{len(block)} of {self.recipe.shards} shards have work left", tuple(block))

    def _unpartitioned_step(self, level: list[dg.AssetKey]) -> Iterator[Step]:
        reasons: dict[dg.AssetKey, str] = {}
        for key in level:
            made_again = reasons.keys() & self._parents(key)
            reason = self.outdated(key) or (f"{min(made_again).to_user_string()} is made again" if made_again else None)
            if reason:
                reasons[key] = reason
        if reasons:
            together = {other for key in reasons for other in self._repository.assets_defs_by_key[key].keys}
            yield Step(tuple(sorted(together)), next(iter(reasons.values())))

    def _parents(self, key: dg.AssetKey) -> list[dg.AssetKey]:
        return [dep.asset_key for dep in self._specs[key].deps]

    def _launch(self, step: Step, tags: Mapping[str, str]) -> bool:
        shards = {RANGE_START_TAG: step.shards[0], RANGE_END_TAG: step.shards[-1]} if step.shards else {}
        job = self._repository.get_job(ASSET_JOB)
        return job.execute_in_process(
            run_config={"loggers": {"console": {}}},
            instance=self.instance,
            asset_selection=list(step.assets),
            tags={"synthvlm/recipe": self.recipe.name, **tags, **shards},
            raise_on_error=False,
        ).success


def contiguous_blocks(chosen: Sequence[str], every: Sequence[str]) -> list[list[str]]:
    """Split chosen partition keys into runs of neighbours, as one Dagster run can only take a range.

    Args:
        chosen: keys, in the order of `every`.
        every: all keys in order.
    """
    position = {key: index for index, key in enumerate(every)}
    blocks: list[list[str]] = []
    for key in chosen:
        if blocks and position[key] == position[blocks[-1][-1]] + 1:
            blocks[-1].append(key)
        else:
            blocks.append([key])
    return blocks
