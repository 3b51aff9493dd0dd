"""The map shows every group of images on the axes along which they differ most."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.dataset.report import embedding_map
from synthvlm_dagster.dataset.report.embedding_map import gather_embedding_map, principal_components
from synthvlm_dagster.dataset.report.facts import scored_pairs
from synthvlm_dagster.scores.naming import embeddings_table, scorer_name
from synthvlm_dagster.scores.references import SCORES_SCHEMA, SUMMARY, SUMMARY_SCHEMA
from synthvlm_dagster_tests.dataset.conftest import Project, good_captions

MakeProject = Callable[..., Project]

COMPARISON = {"name": "web", "path": "web.json"}


def add_embeddings(project: Project) -> None:
    """Give every scored image a direction of its own near the first axis."""
    chance = np.random.default_rng(0)
    for shard in project.recipe.shard_keys:
        ids = read_scores(project.recipe, project.storage, shard).select("image_id").collect()["image_id"]
        vectors = chance.normal([1, 0, 0, 0], 0.1, (len(ids), 4)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = pl.DataFrame({"image_id": ids, "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float32, 4))})
        project.storage.write_chunk(embeddings_table(project.recipe, shard), "chunk-0.parquet", rows)


def add_reference(project: Project) -> None:
    """A dataset of eight pairs, all on the second axis."""
    facts = {"name": "web", "scorer": scorer_name(project.recipe), "pairs": 8, "table": "scores/references/web"}
    project.storage.write_table(SUMMARY, pl.DataFrame([facts], SUMMARY_SCHEMA))
    pairs = [{"image_id": f"{n}", "text": f"web {n}", "embedding": [0.0, 1.0, 0.0, 0.0]} for n in range(8)]
    project.storage.write_chunk("scores/references/web", "chunk-0.parquet", pl.DataFrame(pairs, SCORES_SCHEMA))


def test_every_group_has_its_points(make_project: MakeProject) -> None:
    project = make_project(good_captions(30), comparisons=[COMPARISON])
    add_embeddings(project)
    add_reference(project)
    found = gather_embedding_map(project.recipe, project.storage, scored_pairs(project.recipe, project.storage))
    assert found is not None
    assert found.sizes == {"left out": 45, "selected": 15, "web": 8}
    assert [point.group for point in found.points] == ["left out"] * 45 + ["selected"] * 15 + ["web"] * 8
    web = np.mean([point.x for point in found.points if point.group == "web"])
    others = np.mean([point.x for point in found.points if point.group != "web"])
    assert abs(web - others) > 1, "what differs most is told apart by the first axis"
    texts = set(project.selected["text"])
    assert {point.caption for point in found.points if point.group == "selected"} <= texts


def test_the_sample_is_bounded(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_map, "_POINTS_PER_GROUP", 5)
    project = make_project(good_captions(30))
    add_embeddings(project)
    scored = scored_pairs(project.recipe, project.storage)
    found = gather_embedding_map(project.recipe, project.storage, scored)
    assert found is not None
    assert found.sizes == {"left out": 5, "selected": 5}
    assert found == gather_embedding_map(project.recipe, project.storage, scored)


def test_without_embeddings_there_is_no_map(make_project: MakeProject) -> None:
    project = make_project()
    scored = scored_pairs(project.recipe, project.storage)
    assert gather_embedding_map(project.recipe, project.storage, scored) is None


@given(
    rows=arrays.arrays(
        np.float32,
        st.tuples(st.integers(3, 12), st.integers(2, 6)),
        elements=st.floats(-1, 1, width=32, allow_nan=False),
    )
)
def test_the_axes_are_those_of_the_largest_variance(rows: np.ndarray) -> None:
    places, (first, second) = principal_components(rows)
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    assert np.allclose((places**2).sum(axis=0), variances[:2], atol=1e-6)
    assert np.allclose([first, second], variances[:2] / max(variances.sum(), 1e-12), atol=1e-5)
