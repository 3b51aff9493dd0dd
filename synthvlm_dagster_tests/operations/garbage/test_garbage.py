"""What is garbage by the names in a store, and what the selected pairs keep."""

import uuid

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.naming import generator_name, images_table
from synthvlm_dagster.operations.garbage.find import Garbage, delete_garbage, find_garbage
from synthvlm_dagster.operations.garbage.references import References, find_references
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import embeddings_table, judge_table, scorer_name, scores_table
from synthvlm_dagster.store.failed_checks import keep_verdict
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.storage import Storage, StoredFile

OLD, OTHER = "old-0123456789", "other-abcdef0123"
SHARD = "0000"
SCORES = pl.DataFrame({"image_id": ["a00", "b00"], "clip_score": [0.25, 0.5], "ssim": [0.75, 1.0]})


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "name": "named",
            "storage": f"memory://{uuid.uuid4().hex}",
            "sources": [{"name": "mine", "path": "captions.txt"}],
            "shards": 2,
            "generation": {"model": "org/model"},
            "scoring": {"judges": {"siglip": {"model": "ViT-B-16-SigLIP"}}},
            "selection": {"count": 1},
            "comparisons": [{"name": "web", "path": "web.json"}],
        }
    )


def kept_tables(recipe: Recipe) -> list[str]:
    return [
        images_table(recipe, SHARD),
        f"failed_images/{generator_name(recipe)}/{SHARD}",
        f"plans/nights_attempts/{generator_name(recipe)}/{SHARD}",
        scores_table(recipe, SHARD),
        judge_table(recipe, "siglip", SHARD),
        embeddings_table(recipe, SHARD),
        "scores/references/web-0123456789",
        "captions/raw",
        "captions/watched",
        "plans/attempts",
        "images/by-hand/0000",
        f"notes/{OLD}/0000",
    ]


def garbage_tables(recipe: Recipe) -> list[str]:
    generator = generator_name(recipe)
    return [
        f"scores/{generator}/{OLD}/{SHARD}",
        f"scores/{OLD}/{OTHER}/{SHARD}",
        "scores/references/gone-0123456789",
        f"embeddings/{generator}/{OLD}/{SHARD}",
        f"embeddings/{OLD}/{OTHER}/{SHARD}",
        f"plans/nights_attempts/{OLD}/{SHARD}",
        f"failed_images/{OLD}/{SHARD}",
        f"images/{OLD}/{SHARD}",
        f"captions/measurements/perplexity-{OLD[-10:]}",
    ]


def garbage_of(storage: Storage, *recipes: Recipe) -> list[Garbage]:
    return find_garbage(storage.every_file(), find_references(storage, recipes))


def test_what_no_recipe_names_is_garbage_scores_before_images(recipe):
    storage = Storage(recipe.storage)
    for table in [*kept_tables(recipe), *garbage_tables(recipe)]:
        storage.write_chunk(table, "chunk-1.parquet", SCORES)
    storage.write_bytes(f"{images_table(recipe, SHARD)}/chunk-2.parquet.corrupt", b"x")
    storage.write_bytes("dataset/.tmp-llava.ab/images/1.png", b"x" * 10)
    storage.write_bytes("dataset/.tmp-llava.ab/synthvlm.json", b"x" * 5)
    garbage = garbage_of(storage, recipe)
    assert [thing.path for thing in garbage if thing.path.startswith("dataset")] == ["dataset/.tmp-llava.ab"]
    assert garbage[0].bytes == 15
    gone = {file.path for thing in garbage for file in thing.files}
    tables = {path.rpartition("/")[0] for path in gone if path.endswith("chunk-1.parquet")}
    assert tables == set(garbage_tables(recipe))
    tops = [thing.path.split("/")[0] for thing in garbage]
    assert tops.index("images", 2) > max(number for number, top in enumerate(tops) if top == "scores")

    [*delete_garbage(storage, garbage)]
    assert {path.rpartition("/")[0] for path in storage.files("")} == set(kept_tables(recipe))
    assert garbage_of(storage, recipe) == []


def test_a_verdict_is_garbage_with_what_it_is_of(recipe):
    storage = Storage(recipe.storage)
    scores = f"scores/{generator_name(recipe)}/{OLD}/{SHARD}"
    for place in (f"images/{OLD}/{SHARD}", scores, images_table(recipe, SHARD), "dataset/selected"):
        keep_verdict(storage, place, "sound", "not so")
    gone = {file.path for thing in garbage_of(storage, recipe) for file in thing.files}
    assert gone == {f"failed_checks/{place}/sound.txt" for place in (f"images/{OLD}/{SHARD}", scores)}


def test_the_generator_of_the_selected_pairs_is_known_by_their_record(recipe):
    storage = Storage(recipe.storage)
    for table in garbage_tables(recipe):
        storage.write_chunk(table, "chunk-1.parquet", SCORES)
    for kind in ("images", "failed_images"):
        storage.write_chunk(f"{kind}/{OTHER}/{SHARD}", "chunk-1.parquet", SCORES)
    storage.write_chunk(f"embeddings/{OTHER}/{OLD}/{SHARD}", "chunk-1.parquet", SCORES)
    pairs = SCORES.head(1).with_columns(shard=pl.lit(SHARD))
    storage.write_table(SELECTED, pairs, MadeFrom(code=1, generator=OTHER, scorer=OLD))
    references = find_references(storage, [recipe])
    assert references.whole == {OTHER}
    assert not [thing for thing in garbage_of(storage, recipe) if thing.path.split("/")[1] == OTHER]
    assert f"images/{OLD}" in {thing.path for thing in garbage_of(storage, recipe)}

    own = MadeFrom(code=1, generator=generator_name(recipe), scorer=scorer_name(recipe))
    storage.write_table(SELECTED, pairs, own)
    assert not find_references(storage, [recipe]).whole
    assert f"images/{OTHER}" in {thing.path for thing in garbage_of(storage, recipe)}

    storage.write_table(SELECTED, pairs)
    assert find_references(storage, [recipe]).unknown_pairs
    assert {thing.path.split("/")[0] for thing in garbage_of(storage, recipe)} <= {"captions", "scores"}
    assert not [thing for thing in garbage_of(storage, recipe) if thing.path.startswith(f"scores/{OLD}")]


def test_each_recipe_keeps_its_own_and_they_must_share_the_store(recipe):
    storage = Storage(recipe.storage)
    other = recipe.model_copy(update={"name": "other", "seed": 1})
    for each in (recipe, other):
        storage.write_chunk(images_table(each, SHARD), "chunk-1.parquet", SCORES)
    assert [thing.path for thing in garbage_of(storage, recipe)] == [f"images/{generator_name(other)}"]
    assert garbage_of(storage, recipe, other) == []
    elsewhere = other.model_copy(update={"storage": "memory://elsewhere"})
    with pytest.raises(RecipeError, match=r"recipe other stores in memory://.*elsewhere, not in "):
        garbage_of(storage, recipe, elsewhere)


KEPT = "kept-0123456789"
NAMES = st.sampled_from(
    [OLD, OTHER, KEPT, "nights_attempts", "by-hand", "0000", "chunk-1.parquet", ".tmp-1", "x.parquet.corrupt"]
)
TOPS = st.sampled_from(["images", "failed_images", "scores", "embeddings", "plans", "captions", "dataset", "mine"])


@given(st.lists(st.tuples(TOPS, st.lists(NAMES, min_size=1, max_size=5)), max_size=20), st.booleans())
def test_only_files_in_known_places_are_garbage_each_once(paths, unknown_pairs):
    kept = frozenset({KEPT})
    references = References(kept, kept, frozenset(), frozenset(), frozenset(), unknown_pairs)
    files = [StoredFile(path, 1, 0.0) for path in sorted({"/".join([top, *parts]) for top, parts in paths})]
    found = [file for thing in find_garbage(files, references) for file in thing.files]
    assert len(found) == len(set(found))
    for file in found:
        parts = file.path.split("/")
        if not any(part.startswith(".tmp-") for part in parts) and not parts[-1].endswith(".corrupt"):
            assert parts[0] in {"images", "failed_images", "scores", "embeddings", "plans"}
            assert not unknown_pairs
            if parts[0] == "plans":
                assert parts.pop(1) == "nights_attempts"
            assert parts[1] != KEPT
            assert {OLD, OTHER} & set(parts[1:3])


PLANTED = st.lists(
    st.tuples(st.integers(0, 99), st.sampled_from(["generator", "scorer", "corrupt", "tmp"])), min_size=1, max_size=6
)


@settings(max_examples=15, deadline=None)
@given(PLANTED, st.integers(0, 5))
def test_a_store_is_sound_wherever_the_deleting_ends(small_project, places, deletions):
    recipe, storage = small_project.recipe, small_project.storage
    before = [(file.path, file.size) for file in storage.every_file()]
    sources = [path for path in storage.files("") if path.split("/")[0] in ("images", "scores", "embeddings")]
    for number, place in places:
        path = sources[number % len(sources)]
        storage.write_bytes(planted_path(path, place), storage.read_bytes(path))
    garbage = garbage_of(storage, recipe)
    planted = len(storage.every_file()) - len(before)
    assert sum(len(thing.files) for thing in garbage) == planted
    with pytest.raises(KeyboardInterrupt):
        [*delete_garbage(Killed(storage, deletions % planted), garbage)]
    assert small_project.work_left() == {}
    [*delete_garbage(storage, garbage_of(storage, recipe))]
    assert [(file.path, file.size) for file in storage.every_file()] == before
    assert small_project.work_left() == {}
    pairs = storage.scan(SELECTED).collect()
    lineage = pl.concat(with_images(recipe, storage, pairs))
    assert set(lineage["image_id"]) == set(pairs["image_id"])
    assert lineage["seed"].null_count() == 0
    scores = read_scores(recipe, storage).collect()
    assert pairs.join(scores, on=["image_id", "clip_score", "ssim"], how="anti").is_empty()


def planted_path(path: str, place: str) -> str:
    """Where a file of the store would be garbage."""
    kind, generator, *rest = path.split("/")
    if place == "corrupt":
        return f"{path}.corrupt"
    if place == "tmp":
        return "/".join([kind, generator, *rest[:-1], f".tmp-{rest[-1]}"])
    if place == "scorer" and kind != "images":
        return "/".join([kind, generator, OTHER, *rest[1:]])
    return "/".join([kind, OLD, *rest])


class Killed:
    """A store whose process ends before it deletes one more file than so many."""

    def __init__(self, storage: Storage, deletions: int) -> None:
        self._storage = storage
        self._left = deletions
        self.delete_empty_folders = storage.delete_empty_folders

    def delete(self, path: str) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        self._storage.delete(path)
