"""What an audit sets aside, part by part, on pools where the right answer is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from synthvlm_dagster.dataset.clusters import cluster
from synthvlm_dagster.dataset.quotas import within_quotas
from synthvlm_dagster.dataset.selection import SELECTED_COLUMNS, SET_ASIDE_COLUMNS, Selected, select_with_reasons
from synthvlm_dagster.dataset.semantic_duplicates import semantic_duplicates
from synthvlm_dagster.errors import SelectionError
from synthvlm_dagster.recipe import Recipe, Selection
from synthvlm_dagster_tests.dataset.test_selection import pool


def audited(scores: pl.DataFrame, embeddings: Any = None, **selection: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    chosen = select_with_reasons(scores.lazy(), Selection(strategy="audited", **selection), 3, embeddings)
    assert isinstance(chosen, Selected)
    return chosen.pairs.collect(), chosen.set_aside.collect()


def judged(judge: list[float | None], attempts: int = 1) -> pl.DataFrame:
    """Captions 0, 1, … with `attempts` images each, CLIPScores from 0.9 downward."""
    rows = [(n // attempts, n % attempts, 0.9 - 0.01 * n, 0.5) for n in range(len(judge))]
    return pool(rows).with_columns(siglip_score=pl.Series(judge, dtype=pl.Float64))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def in_parts(ids: pl.Series, rows: np.ndarray) -> list[tuple[pl.Series, np.ndarray]]:
    """The embeddings shuffled and in three parts, an empty one among them, as shards give them."""
    order = np.random.default_rng(5).permutation(len(ids))
    half = len(ids) // 2
    parts = [order[:half], order[half:]]
    return [
        (pl.Series(dtype=pl.String), np.empty((0, 0), dtype=np.float32)),
        *((ids.gather(part), rows[part]) for part in parts),
    ]


def test_the_image_on_which_judge_and_clip_disagree_is_set_aside_for_the_next_attempt() -> None:
    # By CLIP the first image is the best of six, by the judge the worst; the judge ranks the others as CLIP does.
    scores = judged([0.0, 0.9, 0.8, 0.7, 0.6, 0.5], attempts=2)
    pairs, set_aside = audited(scores, count=2, audit={"disagreement": {"judge": "siglip_score", "share": 0.17}})
    assert pairs["image_id"].to_list() == [f"{0:016x}-01", f"{1:016x}-00"]
    assert set_aside.select("image_id", "reason", "difference").rows() == [(f"{0:016x}-00", "disagreement", 1.0)]
    assert pairs.columns == list(SELECTED_COLUMNS)
    assert set_aside.columns == list(SET_ASIDE_COLUMNS)


@pytest.mark.parametrize(
    ("share", "images", "aside"), [(0.29, 100, 29), (0.57, 100, 57), (0.25, 10, 3), (0.24, 10, 2), (0.04, 10, 0)]
)
def test_a_share_is_rounded_as_it_is_written(share: float, images: int, aside: int) -> None:
    scores = judged([0.5 + 0.001 * n for n in range(images)])
    rule = {"disagreement": {"judge": "siglip_score", "share": share}}
    assert audited(scores, count=1, audit=rule)[1].height == aside


@pytest.mark.parametrize(("limit", "aside"), [(1.0, 0), (0.99, 1), (0.2, 1), (0.19, 6)])
def test_disagreement_above_the_limit_is_set_aside(limit: float, aside: int) -> None:
    # One image changes places with all others, and each of them moves by one of five.
    scores = judged([0.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    rule = {"disagreement": {"judge": "siglip_score", "max_difference": limit}}
    if aside == scores.height:
        with pytest.raises(SelectionError, match="only 0 of 6 captions"):
            audited(scores, count=1, audit=rule)
    else:
        _, set_aside = audited(scores, count=1, audit=rule)
        assert set_aside.height == aside


def test_an_audit_that_leaves_too_few_says_what_took_them() -> None:
    scores = judged([0.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    with pytest.raises(
        SelectionError, match=r"6 pairs .* only 3 of 6 captions; set aside were 3 images by disagreemen"
    ):
        audited(scores, count=6, audit={"disagreement": {"judge": "siglip_score", "share": 0.5}})


@pytest.mark.parametrize("value", [None, float("nan")])
def test_refuses_images_that_the_judge_has_not_measured(value: float | None) -> None:
    with pytest.raises(SelectionError, match=r"1 of 3 scored images have no siglip_score \(0000000000000001-00\)"):
        audited(
            judged([0.1, value, 0.2]), count=1, audit={"disagreement": {"judge": "siglip_score", "max_difference": 1}}
        )


def test_refuses_a_judge_without_a_column() -> None:
    with pytest.raises(SelectionError, match="no column 'vqa_score'; held-out judges measured siglip_score"):
        audited(judged([0.1]), count=1, audit={"disagreement": {"judge": "vqa_score", "share": 0.5}})


def test_of_images_that_show_the_same_the_best_scored_is_kept() -> None:
    scores = judged([0.5] * 6)
    rows = unit(np.array([[1, 0, 0], [0, 1, 0], [1, 0.01, 0], [0, 1, 0.02], [0, 0, 1], [1, 0, 0.01]]))
    pairs, set_aside = audited(
        scores, in_parts(scores["image_id"], rows), count=3, audit={"near_duplicates": {"similarity": 0.99}}
    )
    assert pairs["text"].to_list() == ["caption 0", "caption 1", "caption 4"]
    found = {image[:16]: twin[:16] for image, twin in set_aside.select("image_id", "duplicate_of").iter_rows()}
    assert found == {f"{image:016x}": f"{twin:016x}" for image, twin in {2: 0, 3: 1, 5: 0}.items()}
    assert set(set_aside["reason"]) == {"near_duplicate"}


def test_rare_concepts_survive_quotas_and_what_gives_way_is_told() -> None:
    # Nine images of one concept with the best scores, three of another with the worst.
    scores = judged([0.5] * 12)
    rows = unit(np.array([[1, 0.001 * n] for n in range(9)] + [[0.001 * n, 1] for n in range(3)]))
    parts = in_parts(scores["image_id"], rows)
    pairs, set_aside = audited(scores, parts, count=4, audit={"quotas": {"concepts": 2, "at_least": 1}})
    assert pairs["text"].to_list() == [f"caption {n}" for n in (0, 1, 2, 9)]
    assert pairs["rank"].to_list() == [1, 2, 3, 4]
    assert set_aside.select("text", "reason").rows() == [("caption 3", "quota")]


def test_refuses_to_compare_images_without_embeddings() -> None:
    scores = judged([0.5] * 4)
    quotas = {"quotas": {"concepts": 2}}
    with pytest.raises(SelectionError, match="by their CLIP embeddings, and none are given"):
        audited(scores, count=1, audit=quotas)
    with pytest.raises(SelectionError, match=r"1 of 4 images have no CLIP embedding \(0000000000000003-00\)"):
        audited(scores, [(scores["image_id"].head(3), unit(np.eye(3)))], count=1, audit=quotas)


def test_every_part_together_does_not_depend_on_the_order_of_the_rows() -> None:
    random = np.random.default_rng(0)
    rows = [(n // 3, n % 3, float(random.integers(20)) / 20, float(random.integers(20)) / 20) for n in range(300)]
    scores = pool(rows).with_columns(siglip_score=pl.Series(random.random(300)))
    embeddings = unit(random.normal(size=(300, 4)))
    settings = {
        "share": 0.2,
        "audit": {
            "disagreement": {"judge": "siglip_score", "share": 0.1},
            "near_duplicates": {"similarity": 0.95, "cluster_size": 30},
            "quotas": {"concepts": 5},
        },
    }
    first = audited(scores, in_parts(scores["image_id"], embeddings), **settings)
    shuffled = random.permutation(300)
    again = audited(scores[shuffled], [(scores["image_id"].gather(shuffled), embeddings[shuffled])], **settings)
    assert all(one.equals(other) for one, other in zip(first, again, strict=True))
    assert first[0].height == 20
    assert dict(first[1].group_by("reason").len().iter_rows())["disagreement"] == 30
    assert not set(first[0]["image_id"]) & set(first[1]["image_id"])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.sampled_from([0.5, 0.9, 1.0]), st.integers(0, 1000))
def test_semantic_duplicates_equal_the_naive_rewrite(n: int, groups: int, similarity: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = unit(random.integers(-2, 3, size=(n, 3)) + np.array([0, 0, 2.5]))
    clusters = random.integers(groups, size=n)
    expected = np.full(n, -1)
    for image in range(n):
        for better in range(image):
            if (
                clusters[image] == clusters[better]
                and expected[better] < 0
                and rows[image] @ rows[better] >= similarity - 1e-6
            ):
                expected[image] = better
                break
    assert semantic_duplicates(rows, clusters, similarity).tolist() == expected.tolist()


def test_semantic_duplicates_are_found_across_blocks() -> None:
    rows = np.tile(np.eye(7, dtype=np.float32), (500, 1))
    repeats = semantic_duplicates(rows, np.zeros(len(rows), dtype=int), 0.99)
    assert repeats.tolist() == [-1] * 7 + [n % 7 for n in range(7, len(rows))]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.data())
def test_quotas_keep_their_bounds_and_their_count(concepts: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(concepts)))
    at_least, at_most = data.draw(st.floats(0, 1)), data.draw(st.floats(1, 4))
    chosen = within_quotas(np.array(concepts), count, at_least, at_most)
    assert chosen.sum() == count
    promised = 0
    for concept in set(concepts):
        members = np.array(concepts) == concept
        fair = count * members.sum() / len(concepts)
        assert chosen[members].sum() <= max(np.ceil(at_most * fair), 1)
        # Within a concept, the best are chosen.
        assert not np.diff(chosen[members].astype(int), prepend=1).max() > 0
        promised += max(int(at_least * fair), 1 if at_least > 0 else 0)
    if promised <= count:
        for concept in set(concepts):
            members = np.array(concepts) == concept
            fair = count * members.sum() / len(concepts)
            assert chosen[members].sum() >= max(int(at_least * fair), 1 if at_least > 0 else 0)


def test_clusters_are_the_groups_that_are_there() -> None:
    random = np.random.default_rng(1)
    centres = unit(random.normal(size=(6, 32)))
    group = random.integers(6, size=600)
    rows = unit(centres[group] + 0.03 * random.normal(size=(600, 32)))
    found = cluster(rows, 6, seed=0)
    assert len({(a, b) for a, b in zip(group, found, strict=True)}) == 6
    assert cluster(rows, 6, seed=0).tolist() == found.tolist()
    assert cluster(rows[:3], 10, seed=0).max() < 3
    assert cluster(np.tile(rows[:1], (5, 1)), 3, seed=0).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "needs audit with"),
        ({"audit": {"disagreement": {"judge": "siglip_score"}}}, "exactly one of max_difference"),
        ({"audit": {"disagreement": {"judge": "clip_score", "share": 0.1}}}, "name a held-out score"),
        ({"audit": {"disagreement": {"judge": "safety_score", "share": 0.1}}}, "high where an image is bad"),
        ({"audit": {"quotas": {"concepts": 1}}}, "greater than or equal to 2"),
        ({"audit": {"quotas": {"concepts": 4, "at_most": 0.5}}}, "greater than or equal to 1"),
        ({"audit": {"near_duplicates": {"similarity": 1.5}}}, "less than or equal to 1"),
        ({"audit": {"quotas": {"concepts": 4}}, "ssim_weight": -0.1}, "greater than or equal to 0"),
    ],
)
def test_a_recipe_that_cannot_be_audited_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Selection(strategy="audited", share=0.5, **changed)


def test_a_judge_that_the_recipe_does_not_ask_is_refused(tiny_recipe: Callable[..., Recipe]) -> None:
    audit = {"disagreement": {"judge": "vqa_score", "share": 0.1}}
    selection = {"strategy": "audited", "share": 0.5, "audit": audit}
    with pytest.raises(ValidationError, match="measures: none is on"):
        tiny_recipe(selection=selection)
    with pytest.raises(ValidationError, match="measures: on are siglip_score"):
        tiny_recipe(selection=selection, scoring={"judges": {"siglip": {}}})
    audit["disagreement"]["judge"] = "siglip_score"
    assert (
        tiny_recipe(selection=selection, scoring={"judges": {"siglip": {}}}).selection.audit.needs_embeddings is False
    )
