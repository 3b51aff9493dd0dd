import io
import itertools
import threading
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthvlm_dagster.attempts.plan import whole_plan
from synthvlm_dagster.attempts.state import planned_images, read_images
from synthvlm_dagster.errors import ModelError, RecipeError, StorageError
from synthvlm_dagster.images.batches import Batches
from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.identity import image_seed
from synthvlm_dagster.images.naming import failed_images_table, images_table
from synthvlm_dagster.images.plan import plan_attempts
from synthvlm_dagster.images.plan import write_plan as write_plan_table
from synthvlm_dagster.images.table import IMAGE_DESCRIPTIONS, IMAGE_SCHEMA
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.images.noise import SHARD, NoiseGenerator, ids, noise, plain, seed_of, write_plan
from synthvlm_dagster_tests.shards import generate_shard, shard_progress


class NoGenerator:
    """Fails when it is asked for anything: nothing is missing where it is used."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the generator's {name} is not needed")


def chunks(recipe: Recipe, storage: Storage) -> list[str]:
    return storage.files(images_table(recipe, SHARD), ".parquet")


def missing(recipe: Recipe, storage: Storage) -> list[str]:
    return planned_images(recipe, storage, SHARD).missing["image_id"].to_list()


def damage(storage: Storage, path: str, change: Callable[[bytes], bytes]) -> None:
    storage.write_bytes(path, change(storage.read_bytes(path)))


def test_a_shard_gets_its_planned_images_and_their_facts(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"negative_prompt": "fog", "image_format": "png"})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=6, attempts=2)
    messages: list[str] = []
    summary = generate_shard(recipe, storage, SHARD, NoiseGenerator(), messages.append)

    assert (summary.planned, summary.made, summary.quarantined, summary.failures) == (6, 6, (), {})
    assert summary.seconds > 0
    assert summary.images_per_second > 0
    assert "complete with 6 images; 6 made" in messages[-1]
    images = read_images(recipe, storage, SHARD)
    assert images.collect_schema() == IMAGE_SCHEMA
    assert set(IMAGE_DESCRIPTIONS) == set(IMAGE_SCHEMA)
    rows = images.collect().sort("image_id").rows(named=True)
    assert [row["image_id"] for row in rows] == [f"{n:016x}-{a:02d}" for n in (0, 2, 4) for a in (0, 1)]
    for row in rows:
        assert row["seed"] == image_seed(recipe.seed, row["caption_id"], row["attempt"])
        assert (row["retry"], row["prompt_truncated"]) == (0, False)
        assert row["text"] == f"caption {int(row['caption_id'], 16)}"
        assert row["image"]["path"] == f"{row['image_id']}.png"
        assert (row["width"], row["height"]) == (16, 16)
        with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
            assert (np.asarray(stored) == noise(row["seed"])).all()
        assert (row["model"], row["num_inference_steps"], row["negative_prompt"]) == ("tiny-sdxl", 2, "fog")
    assert read_images(recipe, storage, "0001").collect().is_empty()


def test_rows_tell_which_captions_were_not_read_to_their_end(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"images_per_chunk": 2})
    storage = Storage(recipe.storage)
    texts = [f"caption {number}{'…' if number % 3 == 0 else ''}" for number in range(7)]
    rows = [{"caption_id": f"{n:016x}", "text": text, "shard": SHARD} for n, text in enumerate(texts)]
    write_plan_table(storage, plan_attempts(pl.DataFrame(rows), Attempts(), seed=0))
    generate_shard(recipe, storage, SHARD, NoiseGenerator())
    for text, truncated in read_images(recipe, storage, SHARD).select("text", "prompt_truncated").collect().iter_rows():
        assert truncated == text.endswith("…")


def test_an_image_can_be_rebuilt_from_its_row(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"image_format": "png"})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=6)
    generator = DiffusersGenerator(recipe.generation)
    summary = generate_shard(recipe, storage, SHARD, generator)
    assert summary.load_seconds > 0
    row = read_images(recipe, storage, SHARD).collect().row(1, named=True)
    with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
        [rebuilt] = generator.decode(generator.denoise([row["text"]], [row["seed"]]))
        assert rebuilt.image is not None
        assert np.abs(np.asarray(stored, dtype=int) - rebuilt.image.astype(int)).max() <= 2


def test_a_complete_shard_needs_no_model(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=4)
    generate_shard(recipe, storage, SHARD, NoiseGenerator())
    before = storage.version(images_table(recipe, SHARD))
    summary = generate_shard(recipe, storage, SHARD, NoGenerator())
    assert (summary.made, summary.seconds, summary.images_per_second) == (0, 0, 0)
    assert storage.version(images_table(recipe, SHARD)) == before


def test_a_shard_without_captions_is_complete(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=1)
    assert generate_shard(recipe, storage, "0001", NoGenerator()).planned == 0
    assert read_images(recipe, storage, "0001").collect().schema == IMAGE_SCHEMA


def test_only_new_attempts_are_made(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    generator = NoiseGenerator()
    write_plan(storage, captions=6)
    assert generate_shard(recipe, storage, SHARD, generator).made == 3
    write_plan(storage, captions=8, attempts=2)
    assert len(missing(recipe, storage)) == 5
    assert generate_shard(recipe, storage, SHARD, generator).made == 5
    assert missing(recipe, storage) == []


def test_images_no_longer_planned_are_kept_and_not_read(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=8)
    generate_shard(recipe, storage, SHARD, NoiseGenerator())
    write_plan(storage, captions=4)
    assert read_images(recipe, storage, SHARD).collect()["image_id"].sort().to_list() == [
        "0000000000000000-00",
        "0000000000000002-00",
    ]
    write_plan(storage, captions=8)
    assert generate_shard(recipe, storage, SHARD, NoGenerator()).made == 0


def test_another_generator_makes_its_own_images(tiny_recipe: Callable[..., Recipe]) -> None:
    one, other = tiny_recipe(), tiny_recipe({"num_inference_steps": 3})
    storage = Storage(one.storage)
    write_plan(storage, captions=2)
    for recipe in (one, other):
        assert generate_shard(recipe, storage, SHARD, NoiseGenerator()).made == 1
    assert len(storage.files("images", ".parquet")) == 2


def test_batches_are_full_whatever_the_chunks_are(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"batch_size": 2, "images_per_chunk": 5})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)
    generator = NoiseGenerator()
    generate_shard(recipe, storage, SHARD, generator)
    assert generator.batches == [2] * 6
    heights = [storage.scan_files([path]).collect().height for path in chunks(recipe, storage)]
    assert sorted(heights) == [2, 5, 5]


def test_the_same_shard_makes_the_same_files(tiny_recipe: Callable[..., Recipe]) -> None:
    names = []
    for place in ("one", "other"):
        recipe = tiny_recipe({"images_per_chunk": 3}, storage=f"memory://test_images_shard_{place}")
        storage = Storage(recipe.storage)
        write_plan(storage, captions=24)
        spoiled = {seed_of(recipe, number): plain(0) for number in (2, 8)}
        generate_shard(recipe, storage, SHARD, NoiseGenerator(spoiled=spoiled))
        names.append(storage.files("images") + storage.files("failed_images"))
    assert names[0] == names[1]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "magic": lambda _: b"PAR1",
    "footer": lambda content: content[:-40],
    "one byte of an image": lambda content: _flipped(content, content.index(b"IDAT") + 100),
    "one byte of the footer": lambda content: _flipped(content, len(content) - 60),
}


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_damaged_chunk_is_quarantined_and_only_its_images_are_made_again(
    tiny_recipe: Callable[..., Recipe], change: Callable[[bytes], bytes]
) -> None:
    recipe = tiny_recipe({"images_per_chunk": 2, "image_format": "png"})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generate_shard(recipe, storage, SHARD, NoiseGenerator())
    whole = read_images(recipe, storage, SHARD).collect().sort("image_id")
    victim = chunks(recipe, storage)[1]
    lost = storage.scan_files([victim]).collect()
    damage(storage, victim, change)

    messages: list[str] = []
    generator = NoiseGenerator()
    summary = generate_shard(recipe, storage, SHARD, generator, messages.append)
    assert summary.quarantined == (f"{victim}.corrupt",)
    assert any("damaged" in message and ".corrupt" in message for message in messages)
    assert sorted(generator.seeds) == sorted(lost["seed"])
    assert read_images(recipe, storage, SHARD).collect().sort("image_id").equals(whole)
    assert storage.exists(f"{victim}.corrupt")


def test_a_chunk_that_does_not_open_counts_as_missing_before_it_is_quarantined(
    tiny_recipe: Callable[..., Recipe],
) -> None:
    recipe = tiny_recipe({"images_per_chunk": 2})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generate_shard(recipe, storage, SHARD, NoiseGenerator())
    victim = chunks(recipe, storage)[1]
    lost = storage.scan_files([victim]).collect()["image_id"].to_list()
    damage(storage, victim, CHANGES["half"])
    assert missing(recipe, storage) == lost
    assert read_images(recipe, storage, SHARD).collect().height == 4
    assert victim in chunks(recipe, storage)


def test_an_image_in_two_chunks_is_read_once(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"images_per_chunk": 3})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generate_shard(recipe, storage, SHARD, NoiseGenerator())
    whole = read_images(recipe, storage, SHARD).collect().sort("image_id")
    storage.write_chunk(images_table(recipe, SHARD), "chunk-ffffffffff.parquet", whole.slice(1, 4))
    assert read_images(recipe, storage, SHARD).collect().sort("image_id").equals(whole)
    assert missing(recipe, storage) == []


def test_progress_counts_planned_present_failed_and_missing(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"retries": 0}, shards=3)
    storage = Storage(recipe.storage)
    with pytest.raises(StorageError, match="no such table"):
        shard_progress(recipe, storage)
    write_plan(storage, captions=5, attempts=2)
    generate_shard(recipe, storage, SHARD, NoiseGenerator(spoiled={seed_of(recipe, 2): plain(0)}))
    progress = shard_progress(recipe, storage)
    assert progress.columns == ["shard", "planned", "present", "failed", "missing"]
    assert progress.rows() == [("0000", 6, 5, 1, 0), ("0001", 4, 0, 0, 4), ("0002", 0, 0, 0, 0)]


def test_a_store_that_is_no_local_folder_works(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe(storage="memory://test_images_shard")
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generator = NoiseGenerator()
    assert generate_shard(recipe, storage, SHARD, generator).made == 6
    assert generate_shard(recipe, storage, SHARD, NoGenerator()).made == 0
    damage(storage, chunks(recipe, storage)[0], lambda content: content[:100])
    repaired = generate_shard(recipe, storage, SHARD, generator)
    assert repaired.made in (2, 4)
    assert len(repaired.quarantined) == 1
    assert read_images(recipe, storage, SHARD).collect()["image_id"].n_unique() == 6


def test_an_error_in_the_middle_keeps_finished_chunks(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)

    failed = threading.Event()
    decoded = itertools.count(1)

    def fail_at_the_sixth_batch() -> None:
        if len(generator.batches) == 6:
            failed.set()
            raise ModelError("out of order")

    def keep_the_fifth_on_the_device() -> None:
        if next(decoded) == 5:
            assert failed.wait(60)

    generator = NoiseGenerator(on_denoise=fail_at_the_sixth_batch, on_decode=keep_the_fifth_on_the_device)
    with pytest.raises(ModelError, match="out of order"):
        generate_shard(recipe, storage, SHARD, generator)
    # Of six batches of 2 the fifth was on the device, and the sixth failed.
    assert len(missing(recipe, storage)) == 4
    assert generate_shard(recipe, storage, SHARD, NoiseGenerator()).made == 4


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_ends_within_a_batch_and_keeps_finished_chunks(
    tiny_recipe: Callable[..., Recipe], kind: type[BaseException]
) -> None:
    recipe = tiny_recipe({"images_per_chunk": 2})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=400)

    def interrupt() -> None:
        if len(generator.batches) == 10:
            raise kind

    generator = NoiseGenerator(on_denoise=interrupt)
    with pytest.raises(kind):
        generate_shard(recipe, storage, SHARD, generator)
    assert len(generator.batches) == 10
    assert read_images(recipe, storage, SHARD).collect().height >= 2 * 7


def test_a_store_that_is_full_ends_the_work_at_once(
    tiny_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe({"images_per_chunk": 2})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=400)
    write, written = storage.write_bytes, []

    def room_for_three(path: str, content: bytes) -> None:
        if len(written) == 3:
            raise StorageError("No space left on device")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(storage, "write_bytes", room_for_three)
    generator = NoiseGenerator()
    with pytest.raises(StorageError, match="No space left"):
        generate_shard(recipe, storage, SHARD, generator)
    assert len(generator.batches) < 20
    assert chunks(recipe, storage) == sorted(written)


BAD = {
    "black": (plain(0), "black"),
    "grey": (plain(130), "flat"),
    "overflow": (Drawn(None, "not finite"), "not finite"),
    "refused": (Drawn(noise(1), "refused by the safety checker"), "refused by the safety checker"),
}


@pytest.mark.parametrize(("drawn", "problem"), BAD.values(), ids=BAD.keys())
def test_a_picture_of_no_use_is_drawn_again_from_another_seed(
    tiny_recipe: Callable[..., Recipe], drawn: Drawn, problem: str
) -> None:
    recipe = tiny_recipe({"images_per_chunk": 3, "image_format": "png"})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    spoiled = {seed_of(recipe, 4): drawn, seed_of(recipe, 4, retry=1): drawn, seed_of(recipe, 6): drawn}
    messages: list[str] = []
    generator = NoiseGenerator(spoiled=spoiled)
    summary = generate_shard(recipe, storage, SHARD, generator, messages.append)
    assert (summary.made, summary.retried, summary.failures) == (6, 3, {})
    assert f"2 pictures cannot be used (2 {problem}); trying other seeds" in messages[0]

    images = read_images(recipe, storage, SHARD).collect().sort("image_id")
    assert images["image_id"].to_list() == ids(range(0, 12, 2))
    assert images["retry"].to_list() == [0, 0, 2, 1, 0, 0]
    assert images["seed"][2] == seed_of(recipe, 4, retry=2)
    assert len(generator.seeds) == len(set(generator.seeds)) == 9
    assert generate_shard(recipe, storage, SHARD, NoGenerator()).made == 0


def test_what_cannot_be_made_is_recorded_and_settled_until_more_retries_are_allowed(
    tiny_recipe: Callable[..., Recipe],
) -> None:
    recipe = tiny_recipe({"retries": 1})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=8)
    spoiled = {seed_of(recipe, 2, retry=retry): plain(255 * (retry % 2)) for retry in range(3)}
    generator = NoiseGenerator(spoiled=spoiled)
    messages: list[str] = []
    summary = generate_shard(recipe, storage, SHARD, generator, messages.append)
    assert (summary.made, summary.retried, summary.failures) == (3, 1, {"flat": 1})
    assert "1 could not be made (1 flat)" in messages[-1]
    failed = planned_images(recipe, storage, SHARD).failed
    assert failed.select("image_id", "retry", "problem").rows() == [(*ids([2]), 1, "flat")]
    tried = storage.scan(failed_images_table(recipe, SHARD)).collect().sort("retry")
    assert tried.columns == ["image_id", "caption_id", "attempt", "retry", "seed", "text", "problem"]
    assert tried["problem"].to_list() == ["black", "flat"]
    assert tried["seed"].to_list() == [seed_of(recipe, 2, retry=retry) for retry in (0, 1)]

    again = generate_shard(recipe, storage, SHARD, NoGenerator(), messages.append)
    assert (again.planned, again.made) == (4, 0)
    assert "all 3 images are present, 1 could not be made" in messages[-1]

    patient = tiny_recipe({"retries": 4})
    generator = NoiseGenerator(spoiled=spoiled)
    assert generate_shard(patient, storage, SHARD, generator).made == 1
    assert generator.seeds == [seed_of(recipe, 2, retry=retry) for retry in (2, 3)]
    assert planned_images(patient, storage, SHARD).failed.is_empty()


def test_fewer_retries_leave_the_images_that_a_fresh_run_would_make(tiny_recipe: Callable[..., Recipe]) -> None:
    def made(recipe: Recipe, storage: Storage, generator: NoiseGenerator | NoGenerator) -> list[list[tuple]]:
        generate_shard(recipe, storage, SHARD, generator)
        images = planned_images(recipe, storage, SHARD)
        facts = ("image_id", "retry", "problem")
        return [
            images.scan().select("image_id", "retry", "seed").collect().sort("image_id").rows(),
            images.failed.select(facts).rows(),
            images.missing.rows(),
        ]

    patient = tiny_recipe({"retries": 2})
    storage = Storage(patient.storage)
    write_plan(storage, captions=8)
    # Image 2 comes out right at the second try, 4 at the third, 6 never.
    bad = [(number, retry) for number in (2, 4, 6) for retry in range(number // 2)]
    spoiled = {seed_of(patient, number, retry=retry): plain(130 * (retry % 2)) for number, retry in bad}
    first = made(patient, storage, NoiseGenerator(spoiled=spoiled))
    for retries in (1, 0, 1, 2):
        recipe = tiny_recipe({"retries": retries}, storage=f"memory://test_fewer_retries_{retries}")
        fresh = Storage(recipe.storage)
        write_plan(fresh, captions=8)
        expected = made(recipe, fresh, NoiseGenerator(spoiled=spoiled))
        assert made(recipe, storage, NoGenerator()) == expected, retries
        awaited = whole_plan(recipe, storage, SHARD).awaited["image_id"].to_list()
        assert awaited == [image_id for image_id, *_ in expected[0]], "what could not be made awaits no score"
    assert made(patient, storage, NoGenerator()) == first


def test_an_image_of_a_late_try_is_tried_from_the_start_where_no_failure_is_recorded(
    tiny_recipe: Callable[..., Recipe],
) -> None:
    patient, recipe = tiny_recipe({"retries": 1}), tiny_recipe({"retries": 0})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=4)
    spoiled = {seed_of(recipe, 2): plain(0)}
    generate_shard(patient, storage, SHARD, NoiseGenerator(spoiled=spoiled))
    for path in storage.files(failed_images_table(recipe, SHARD)):
        storage.delete(path)
    assert planned_images(recipe, storage, SHARD).missing.select("image_id", "retry").rows() == [(*ids([2]), 0)]
    assert generate_shard(recipe, storage, SHARD, NoiseGenerator(spoiled=spoiled)).failures == {"black": 1}
    assert planned_images(recipe, storage, SHARD).missing.is_empty()


def test_a_smaller_batch_stays_for_the_other_shards_of_a_run(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"batch_size": 8})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)
    batches = Batches(recipe.generation)
    messages: list[str] = []
    generator = NoiseGenerator(most_denoised=3)
    for shard in recipe.shard_keys:
        generate_shard(recipe, storage, shard, generator, messages.append, batches)
    assert generator.batches == [2] * 12
    assert sum("out of device memory" in message for message in messages) == 2
    assert planned_images(recipe, storage).missing.is_empty()


def test_no_room_for_one_image_is_an_error_and_loses_nothing(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)

    def full() -> None:
        if len(generator.batches) == 4:
            generator._most_denoised = 0

    generator = NoiseGenerator(on_denoise=full)
    with pytest.raises(RecipeError, match=r"generation\.batch_size"):
        generate_shard(recipe, storage, SHARD, generator)
    assert read_images(recipe, storage, SHARD).collect().height == 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("batch", [1, 3, 6])
def test_what_was_drawn_before_a_cancel_or_an_error_is_kept(
    tiny_recipe: Callable[..., Recipe], error: type[BaseException], batch: int
) -> None:
    recipe = tiny_recipe({"batch_size": 2, "images_per_chunk": 100, "image_format": "png"})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)
    spoiled = {seed_of(recipe, 0): plain(0)}

    def stop() -> None:
        if len(generator.batches) == batch:
            raise error

    generator = NoiseGenerator(on_denoise=stop, spoiled=spoiled)
    with pytest.raises(error):
        generate_shard(recipe, storage, SHARD, generator)
    assert len(generator.batches) == batch, "it stops with the batch in work"
    first = planned_images(recipe, storage, SHARD)
    begun = 2 * (batch - 1)
    assert max(begun - 2, 0) <= first.present.height + (first.missing["retry"] > 0).sum() <= begun

    rest = NoiseGenerator()
    summary = generate_shard(recipe, storage, SHARD, rest)
    assert summary.made == 12 - first.present.height
    assert len(rest.seeds) == summary.made, "what was kept is not drawn again"
    images = read_images(recipe, storage, SHARD).collect()
    assert images.height == images["image_id"].n_unique() == 12
    for row in images.iter_rows(named=True):
        with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
            assert (np.asarray(stored) == noise(row["seed"])).all()
