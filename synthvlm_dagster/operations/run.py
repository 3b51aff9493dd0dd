"""Make what is missing, stage by stage, in this process, through the project's Dagster instance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import groupby
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl

from synthvlm_dagster.attempts.state import State
from synthvlm_dagster.dataset.coverage import score_coverage
from synthvlm_dagster.dataset.made_from import Origins
from synthvlm_dagster.dataset.withdrawn import delete_withdrawn
from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.names import ASSET_JOB, RANGE_END_TAG, RANGE_START_TAG, REPAIR_JOB, REPAIR_OP
from synthvlm_dagster.operations.records import record_shards, record_table
from synthvlm_dagster.operations.runs.tags import worker_tag
from synthvlm_dagster.operations.runs.watch import watched
from synthvlm_dagster.operations.sharded_assets import sharded_assets
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.store.failed_checks import refused_shards

_SHARDS_NAMED = 6
_NO_RETRY = {"dagster/max_retries": "0"}
"""A run in the process of its caller cannot be started again by Dagster; the caller does."""


class AssetSelectionError(SynthVLMError):
    """What a user typed selects no asset."""


@dataclass(frozen=True)
class Step:
    """One Dagster run to launch: some unpartitioned assets, or one asset over some shards."""

    assets: tuple[dg.AssetKey, ...]
    reason: str
    shards: tuple[str, ...] = ()
    scattered: bool = False
    """The shards are not neighbours."""

    @property
    def in_words(self) -> str:
        """The assets and the shards."""
        names = ", ".join(key.to_user_string() for key in self.assets)
        if not self.shards:
            return names
        if self.scattered:
            more = ", …" if len(self.shards) > _SHARDS_NAMED else ""
            return f"{names}, {len(self.shards)} shards: {', '.join(self.shards[:_SHARDS_NAMED])}{more}"
        return f"{names}, shard{' ' if len(self.shards) == 1 else 's '}" + "–".join(
            dict.fromkeys((self.shards[0], self.shards[-1]))
        )


@dataclass(frozen=True)
class Outcome:
    """How the runs ended."""

    succeeded: bool
    """Whether all that was selected is made, up to what `selection.allow_missing` leaves out."""
    failed_shards: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    """What stood though the recipe does without it, each in a sentence; see `delete_withdrawn`."""
    failed_runs: tuple[str, ...] = ()
    """Dagster's ids of the runs that failed."""


class Pipeline:
    """The assets of a dataset in a code location, and the instance that records them.

    Args:
        repository: the code location, as `Definitions.get_repository_def` or the context of an op gives it.
        instance: records the runs.
        dataset: whose assets they are; those of others in the code location are left alone.
    """

    def __init__(
        self,
        repository: dg.RepositoryDefinition,
        instance: dg.DagsterInstance,
        dataset: Dataset,
    ) -> None:
        self.dataset = dataset
        self.recipe = dataset.recipe
        self.storage = dataset.storage
        self._repository = repository
        self.instance = instance
        self._sharded = {asset.key: asset for asset in sharded_assets(dataset)}
        specs = {
            spec.key: spec
            for asset in repository.assets_defs_by_key.values()
            for spec in asset.specs
            if dataset.owns(spec)
        }
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
        selected = {key for key in selected if key in self._specs}
        if not selected:
            names = ", ".join(key.to_user_string() for key in self._specs)
            raise AssetSelectionError(f"{selection!r} selects no asset; there are: {names}")
        return selected

    def behind_the_shards(self) -> set[dg.AssetKey]:
        """Assets that are made of all shards together: the selection, and what is made of it."""
        behind: set[dg.AssetKey] = set()
        for key in self._specs:
            if not self.is_partitioned(key) and any(p in behind or self.is_partitioned(p) for p in self.parents(key)):
                behind.add(key)
        return behind

    def outdated(self, keys: Iterable[dg.AssetKey]) -> dict[dg.AssetKey, str]:
        """Those of some unpartitioned assets that need a run, and why; see `Origins.why_outdated`."""
        origins = Origins(self.recipe, self.storage)
        reasons = ((key, origins.why_outdated(key.path[-1])) for key in keys)
        return {key: reason for key, reason in reasons if reason}

    def state(self) -> State:
        """What is planned, present and measured of all shards now.

        Raises:
            StorageError: nothing has been planned yet, or the store cannot be reached.
        """
        return State.read(self.recipe, self.storage)

    def shards_with_work(self, key: dg.AssetKey, state: State | None = None) -> list[str]:
        """Partition keys of a partitioned asset that need a run, in order; `state` of all shards, as it is now."""
        return self._sharded[key].shards_with_work(state or self.state())

    def is_partitioned(self, key: dg.AssetKey) -> bool:
        """Whether the asset is made shard by shard."""
        return key in self._sharded

    def run_missing(
        self,
        selected: set[dg.AssetKey],
        only_shards: Sequence[str] | None,
        tags: Mapping[str, str],
        on_step: Callable[[Step], None],
    ) -> Outcome:
        """Launch a run for each step that has work left, one after the other, in the order of the pipeline.

        Where the selected pairs are among what is made, exports that the recipe has switched off are deleted at last.
        Assets that need every shard wait while `only_shards` leaves some out. A shard that fails goes no further; the
        others do if no more images lack a score for it than `selection.allow_missing` allows. After any other failed
        run, nothing is begun.

        Args:
            selected: the assets to look at; the others are left as they are.
            only_shards: partition keys to work on; None for all.
            tags: given to each run.
            on_step: called before each run.

        Raises:
            StorageError: the store cannot be reached, or a file of scores is damaged.
        """
        waiting_for: set[str] = set()
        failed: set[str] = set()
        failed_runs: list[str] = []
        deleted: list[str] = []
        for level in self._levels(selected):
            if not self.is_partitioned(level[0]):
                if waiting_for:
                    for step in self._table_steps(level):
                        on_step(replace(step, reason=f"waits for the shards {', '.join(sorted(waiting_for))}"))
                        break
                    break
                for step in self._table_steps(level):
                    on_step(step)
                    result = self._launch(step, tags)
                    if not result.success:
                        return Outcome(False, tuple(sorted(failed)), failed_runs=(*failed_runs, result.run_id))
                self._record_tables(level)
                continue
            unsound = False
            for step in self._shard_steps(level[0], only_shards, failed):
                on_step(step)
                result = self._launch(step, tags)
                failed_runs += [] if result.success else [result.run_id]
                failed |= _failed_shards(step, result)
                unsound = unsound or _blocked_by_check(result) or self._holds_back(step, failed)
            self._record_shards(level[0])
            if unsound or (failed and not self._can_do_without(failed)):
                return Outcome(False, tuple(sorted(failed)), failed_runs=tuple(failed_runs))
            if only_shards is not None:
                waiting_for.update(set(self.shards_with_work(level[0])) - set(only_shards))
        if not waiting_for and self.dataset.key("selected_pairs") in selected:
            delete_withdrawn(self.recipe, self.storage, deleted.append)
        return Outcome(True, tuple(sorted(failed)), tuple(deleted), tuple(failed_runs))

    def _holds_back(self, step: Step, failed: set[str]) -> bool:
        """Whether a check refused a shard that was made, or could not be asked to its end."""
        asset = self._sharded[step.assets[0]]
        return not refused_shards(self.storage, asset.table(self.recipe)).isdisjoint(set(step.shards) - failed)

    def _can_do_without(self, failed: set[str]) -> bool:
        """Whether the recipe allows that the images of failed shards which have no score are left out."""
        allowed = self.recipe.selection.allow_missing
        if not allowed:
            return False
        coverage = score_coverage(self.recipe, self.storage)
        lacking = coverage.shards.filter(pl.col("shard").is_in(failed))["lacking"].sum()
        return bool(lacking <= allowed * coverage.awaited)

    def _levels(self, selected: set[dg.AssetKey]) -> Iterator[list[dg.AssetKey]]:
        """Selected assets in runs: neighbours without partitions together, each partitioned one by itself."""
        chosen = [key for key in self._specs if key in selected]
        for partitioned, keys in groupby(chosen, self.is_partitioned):
            group = list(keys)
            yield from ([key] for key in group) if partitioned else [group]

    def _shard_steps(
        self, key: dg.AssetKey, only_shards: Sequence[str] | None, failed: Collection[str]
    ) -> Iterator[Step]:
        shards = [
            shard
            for shard in self.shards_with_work(key)
            if shard not in failed and (only_shards is None or shard in only_shards)
        ]
        if shards:
            reason = f"{len(shards)} of {self.recipe.shards} shards have work left"
            scattered = not _are_neighbours(shards, self.recipe.shard_keys)
            yield Step((key,), reason, tuple(shards), scattered)

    def _table_steps(self, level: list[dg.AssetKey]) -> Iterator[Step]:
        """Runs of what is outdated, each asked for when those before it have ended.

        What is up to date, but made of something that is made again, waits until it is known whether that came out
        otherwise.
        """
        left = list(level)
        while left and (reasons := self.outdated(left)):
            now: set[dg.AssetKey] = set()
            waiting: list[dg.AssetKey] = []
            for key in left:
                parents = set(self.parents(key))
                if parents & set(waiting) or (key not in reasons and parents & now):
                    waiting.append(key)
                elif key in reasons:
                    now |= self._repository.assets_defs_by_key[key].keys
            yield Step(tuple(sorted(now)), next(iter(reasons.values())))
            left = waiting

    def _record_tables(self, keys: list[dg.AssetKey]) -> None:
        """Tell Dagster of tables that stand as the recipe would make them, where it does not know them."""
        outdated = self.outdated(keys)
        for key in keys:
            if key not in outdated:
                record_table(self.instance, self._repository.asset_graph, self._specs[key], self.dataset)

    def _record_shards(self, key: dg.AssetKey) -> None:
        """Tell Dagster of complete shards, where it does not know them."""
        # A shard that fell behind in an asset before goes no further: what it lacks there has no score to be complete.
        passed_through = list(self._sharded.values())
        passed_through = passed_through[: passed_through.index(self._sharded[key]) + 1]
        record_shards(self.instance, self._specs[key], passed_through, self.dataset, self.state())

    def record_every_shard(self) -> None:
        """Tell Dagster of the complete shards of every asset that it does not know as they are.

        Raises:
            StorageError: the store cannot be reached.
        """
        for key in self._sharded:
            self._record_shards(key)

    def parents(self, key: dg.AssetKey) -> list[dg.AssetKey]:
        """The assets that an asset is made of."""
        return [dep.asset_key for dep in self._specs[key].deps]

    def _launch(self, step: Step, tags: Mapping[str, str]) -> dg.ExecuteInProcessResult:
        tags = {"synthvlm/recipe": self.recipe.name, **_NO_RETRY, **tags}
        config: dict[str, Any] = {"loggers": {"console": {}}}
        if step.scattered:
            names = [self._sharded[key].name for key in step.assets]
            settings = {"shards": list(step.shards), "assets": names}
            config["ops"] = {self.dataset.name(REPAIR_OP): {"config": settings}}
            job, selection = self._repository.get_job(self.dataset.name(REPAIR_JOB)), None
        else:
            job, selection = self._repository.get_job(ASSET_JOB), list(step.assets)
            if step.shards:
                tags |= {RANGE_START_TAG: step.shards[0], RANGE_END_TAG: step.shards[-1]}
        run_id = str(uuid4())
        with watched(self.instance, run_id):
            return job.execute_in_process(
                run_id=run_id,
                run_config=config,
                instance=self.instance,
                asset_selection=selection,
                tags=tags | worker_tag(run_id),
                raise_on_error=False,
            )


def _failed_shards(step: Step, result: dg.ExecuteInProcessResult) -> set[str]:
    """Shards of a failed run that it has not recorded."""
    if result.success:
        return set()
    [asset] = step.assets
    events = result.get_asset_materialization_events()
    return set(step.shards) - {str(event.partition) for event in events if event.asset_key == asset}


def _blocked_by_check(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a failed run made something that its checks forbid to go on with."""
    return not result.success and any(
        check.blocking and not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        for check in result.get_asset_check_evaluations()
    )


def _are_neighbours(chosen: Sequence[str], every: Sequence[str]) -> bool:
    """Whether the chosen keys, in the order of all, are a range of them, as a Dagster run of assets can take."""
    first = every.index(chosen[0])
    return list(chosen) == list(every[first : first + len(chosen)])
