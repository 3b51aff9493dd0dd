from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.attempts.reading import ShardReader
from synthvlm_dagster.images.assets import generated_images, planned_attempts
from synthvlm_dagster.images.checks import something_to_make, sound_images
from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.naming import generator_name, images_table
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.images.noise import NoiseGenerator, plain, seed_of

SHARDS = [f"{number:04d}" for number in range(4)]
RANGE = {"dagster/asset_partition_range_start": SHARDS[0], "dagster/asset_partition_range_end": SHARDS[1]}


class Project:
    """The stage's assets and checks on an instance and a store of their own."""

    def __init__(self, recipe: Recipe, instance: dg.DagsterInstance) -> None:
        self.recipe = recipe
        self.storage = Storage(recipe.storage)
        self.instance = instance

    def curate(self, captions: int) -> None:
        rows = [
            {"caption_id": f"{number:016x}", "text": f"caption {number}", "shard": SHARDS[number % len(SHARDS)]}
            for number in range(captions)
        ]
        schema = {"caption_id": pl.String, "text": pl.String, "shard": pl.String}
        self.storage.write_table("captions/curated", pl.DataFrame(rows, schema=schema))

    def run(self, asset: Callable[..., dg.AssetsDefinition], **options: Any) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            self.definitions,
            selection=dg.AssetSelection.assets(asset.__name__),
            instance=self.instance,
            raise_on_error=False,
            **options,
        )

    @property
    def definitions(self) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
        dataset = Dataset(self.recipe)
        read = ShardReader(dataset.recipe, lambda: dataset.storage).images
        return [
            planned_attempts(dataset),
            generated_images(dataset, read),
            something_to_make(dataset),
            sound_images(dataset, read),
        ]

    def check_results(self) -> dict[str | None, bool]:
        """Latest result of `sound_images` by shard."""
        key = dg.AssetCheckKey(dg.AssetKey("generated_images"), "sound_images")
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
        return {record.partition: record.status.value == "SUCCEEDED" for record in reversed(records)}


@pytest.fixture
def project(tiny_recipe: Callable[..., Recipe]) -> Iterator[Project]:
    recipe = tiny_recipe({"batch_size": 4}, shards=len(SHARDS), attempts={"per_caption": 2})
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(recipe, instance)


def test_the_plan_is_materialized_and_checked(project: Project) -> None:
    project.curate(3)
    result = project.run(planned_attempts)
    assert result.success
    [event] = result.asset_materializations_for_node("planned_attempts")
    assert event.metadata["dagster/row_count"].value == 6
    assert event.metadata["captions"].value == 3
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]


def test_no_caption_left_stops_the_pipeline(project: Project) -> None:
    project.curate(0)
    result = project.run(planned_attempts)
    assert not result.success
    [check] = result.get_asset_check_evaluations()
    assert not check.passed
    assert "rejected_captions" in (check.description or "")


def test_a_shard_shows_what_was_made(project: Project) -> None:
    project.curate(len(SHARDS))
    project.run(planned_attempts)
    result = project.run(generated_images, partition_key=SHARDS[1])
    assert result.success
    [event] = result.asset_materializations_for_node("generated_images")
    assert event.partition == SHARDS[1]
    assert event.metadata["images_made_now"].value == event.metadata["dagster/row_count"].value == 2
    assert event.metadata["generator"].value == generator_name(project.recipe)
    assert event.metadata["images_per_second"].value > 0
    assert event.metadata["model_load_seconds"].value >= 0
    assert event.metadata["failed_images"].value == 0
    assert event.metadata["failures_by_reason"].value == {}
    assert "data:image/jpeg;base64," in event.metadata["contact_sheet"].value
    assert project.check_results() == {SHARDS[1]: True}

    [again] = project.run(generated_images, partition_key=SHARDS[1]).asset_materializations_for_node("generated_images")
    assert again.metadata["images_made_now"].value == 0
    assert again.tags["dagster/data_version"] == event.tags["dagster/data_version"]


def test_a_run_of_many_shards_loads_one_model_and_records_and_checks_each(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    loads = []
    load = diffusers.AutoPipelineForText2Image.from_pretrained
    monkeypatch.setattr(
        diffusers.AutoPipelineForText2Image,
        "from_pretrained",
        lambda *arguments, **options: loads.append(arguments) or load(*arguments, **options),
    )
    project.curate(2 * len(SHARDS))
    project.run(planned_attempts)
    result = project.run(generated_images, tags=RANGE)
    assert result.success
    assert len(loads) == 1
    events = result.asset_materializations_for_node("generated_images")
    assert [event.partition for event in events] == SHARDS[:2]
    assert all("dagster/data_version" in event.tags for event in events)
    assert project.check_results() == {SHARDS[0]: True, SHARDS[1]: True}
    assert project.instance.get_materialized_partitions(dg.AssetKey("generated_images")) == set(SHARDS[:2])


def test_a_range_of_one_shard_is_checked_as_that_shard(project: Project) -> None:
    """As a backfill launches the last shard, or the only failed one; no evaluation is left planned."""
    project.curate(len(SHARDS))
    project.run(planned_attempts)
    tags = dict.fromkeys(RANGE, SHARDS[1])
    result = project.run(generated_images, tags=tags)
    assert result.success
    assert [event.partition for event in result.asset_materializations_for_node("generated_images")] == [SHARDS[1]]
    assert project.check_results() == {SHARDS[1]: True}


def test_a_shard_that_fails_leaves_the_others_recorded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.curate(2 * len(SHARDS))
    project.run(planned_attempts)
    write = Storage.write_bytes

    def no_room_for_the_first_shard(self: Storage, path: str, content: bytes) -> None:
        if f"/{SHARDS[0]}/" in path:
            raise OSError(28, "No space left on device")
        write(self, path, content)

    monkeypatch.setattr(Storage, "write_bytes", no_room_for_the_first_shard)
    result = project.run(generated_images, tags=RANGE)
    assert not result.success
    assert [event.partition for event in result.asset_materializations_for_node("generated_images")] == [SHARDS[1]]
    assert project.check_results()[SHARDS[1]]
    assert not project.check_results()[SHARDS[0]]


def test_a_generator_of_a_restrictive_licence_makes_nothing_before_it_is_accepted(project: Project) -> None:
    project.curate(len(SHARDS))
    project.run(planned_attempts)
    licence = "Stability AI Community License"
    project.recipe = project.recipe.model_copy(
        update={"generation": project.recipe.generation.model_copy(update={"licence": licence})}
    )
    result = project.run(generated_images, partition_key=SHARDS[0])
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert f"accept_licence: {licence}" in str(failure.step_failure_data.error)
    assert project.storage.files(images_table(project.recipe, SHARDS[0])) == []


def test_images_that_cannot_be_made_are_counted_and_warned_of(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.curate(2 * len(SHARDS))
    project.run(planned_attempts)
    spoiled = {seed_of(project.recipe, 0, attempt=1, retry=retry): plain(0) for retry in range(3)}
    spoiled |= {seed_of(project.recipe, len(SHARDS)): Drawn(None, "not finite")}
    monkeypatch.setattr(
        "synthvlm_dagster.images.generators.DiffusersGenerator", lambda _: NoiseGenerator(spoiled=spoiled)
    )
    result = project.run(generated_images, partition_key=SHARDS[0])
    assert result.success
    [event] = result.asset_materializations_for_node("generated_images")
    assert event.metadata["images_made_now"].value == event.metadata["dagster/row_count"].value == 3
    assert event.metadata["pictures_drawn_again"].value == 3
    assert event.metadata["failed_images"].value == 1
    assert event.metadata["failures_by_reason"].value == {"black": 1}
    [check] = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "1 images could not be made (1 black)" in (check.description or "")


@pytest.mark.parametrize("peak", [3 << 30, None], ids=["GPU", "CPU"])
def test_what_a_shard_costs_and_what_a_gpu_was_used_for_are_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, peak: int | None
) -> None:
    class OnDevice(NoiseGenerator):
        def peak_memory(self) -> int | None:
            return peak

    project.recipe = project.recipe.model_copy(
        update={"generation": project.recipe.generation.model_copy(update={"price_per_gpu_hour": 3600.0})}
    )
    project.curate(len(SHARDS))
    project.run(planned_attempts)
    monkeypatch.setattr("synthvlm_dagster.images.generators.DiffusersGenerator", lambda _: OnDevice())
    result = project.run(generated_images, partition_key=SHARDS[0])
    [event] = result.asset_materializations_for_node("generated_images")
    took = event.metadata["seconds"].value + event.metadata["model_load_seconds"].value
    assert event.metadata["cost_dollars"].value == pytest.approx(took, abs=0.11)
    if peak:
        assert event.metadata["peak_device_memory_gib"].value == 3
        assert event.metadata["gpu_seconds"].value == pytest.approx(took, abs=0.11)
    else:
        assert not {"peak_device_memory_gib", "gpu_seconds"} & event.metadata.keys()
    assert event.metadata["batch_size"].value == 4


@pytest.mark.parametrize("tags", [{"dagster/partition": SHARDS[0]}, RANGE], ids=["shard", "range"])
def test_a_check_run_alone_sees_what_is_missing(project: Project, tags: dict[str, str]) -> None:
    project.curate(1)
    project.run(planned_attempts)
    project.run(generated_images, partition_key=SHARDS[0])
    [path] = project.storage.files(images_table(project.recipe, SHARDS[0]), ".parquet")
    project.storage.delete(path)
    result = dg.materialize(
        project.definitions,
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("generated_images"), "sound_images")),
        instance=project.instance,
        raise_on_error=False,
        tags=tags,
    )
    [check] = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["missing_images"].value == 2
