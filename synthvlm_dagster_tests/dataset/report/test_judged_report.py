"""Held-out judges, what the audit set aside, and allowed gaps in the scores, as the page and the card show them."""

import re
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.dataset.audit import REASONS
from synthvlm_dagster.dataset.exports.card import write_card
from synthvlm_dagster.dataset.pairs import SET_ASIDE
from synthvlm_dagster.dataset.report.facts import gather_facts, scored_pairs
from synthvlm_dagster.dataset.report.gallery import gather_galleries
from synthvlm_dagster.dataset.report.page import PAGE, preview, write_report
from synthvlm_dagster.dataset.report.sweep import gather_sweep
from synthvlm_dagster.recipe import Selection
from synthvlm_dagster.scores.naming import judge_table, scores_table
from synthvlm_dagster_tests.dataset.conftest import Project, fraction, good_captions

MakeProject = Callable[..., Project]

JUDGED = {
    "clip": {"model": "hf-hub:maker/judge", "pretrained": None},
    "judges": {"siglip": {"model": "hf-hub:maker/other", "pretrained": None}, "vqa": {"model": "maker/answers"}},
}
LABELS = {"siglip_score": "SigLIP", "vqa_score": "VQAScore"}


def page_of(project: Project) -> str:
    write_report(project.recipe, project.storage)
    return project.storage.read_bytes(PAGE).decode()


def table_row(html: str, label: str) -> list[str]:
    """The cells of a row of the score table."""
    row = html.split(f'<th scope="row">{label}</th>')[1].split("</tr>")[0]
    return re.findall(r"<td[^>]*>([^<]*)</td>", row)


def chart_titles(html: str) -> list[str]:
    return re.findall(r'<svg[^>]* aria-label="([^"]*)"', html)


def test_the_judges_are_in_the_score_table(make_project: MakeProject) -> None:
    project = make_project(good_captions(20), scoring=JUDGED)
    html = page_of(project)
    ids = read_plan(project.recipe, project.storage)["image_id"]
    chosen = set(project.selected["image_id"])
    for column, label in LABELS.items():
        values = {image_id: fraction(image_id, column) for image_id in ids}
        groups = [
            pl.Series(values.values()),
            pl.Series([value for image_id, value in values.items() if image_id in chosen]),
            pl.Series([value for image_id, value in values.items() if image_id not in chosen]),
        ]
        expected = [f"{figure:.3f}" for group in groups for figure in (group.mean(), group.median())]
        assert table_row(html, label) == [*expected, f"{groups[1].mean() - groups[0].mean():+.3f}"]
    facts = gather_facts(project.recipe, project.storage)
    judged = {line.label: line for line in facts.comparisons}
    mean = judged["SigLIP"].selected.mean
    assert mean is not None
    assert f"{mean:.4f} |" in write_card(project.recipe, project.storage).text.split("| SigLIP | ")[1]
    assert f"| SigLIP | {judged['SigLIP'].everything.mean:.3f} | {mean:.3f} |" in preview(
        project.recipe, project.storage, facts
    )


def test_each_judge_has_its_chart_over_the_weight(make_project: MakeProject) -> None:
    project = make_project(good_captions(20), scoring=JUDGED)
    titles = chart_titles(page_of(project))
    assert [title for title in titles if title.endswith(" over λ")] == [
        f"{label} over λ" for label in ("CLIPScore", "SSIM", *LABELS.values(), "Overlap with the selection")
    ]
    sweep = gather_sweep(project.recipe, scored_pairs(project.recipe, project.storage))
    assert sweep is not None
    own = sweep.filter(pl.col("ssim_weight") == project.recipe.selection.ssim_weight)
    for column in LABELS:
        values = [fraction(image_id, column) for image_id in project.selected["image_id"]]
        assert own[column].item() == pytest.approx(sum(values) / len(values))
        assert sweep[column].n_unique() > 1


def test_a_judge_that_has_looked_at_nothing_has_dashes_and_no_chart(make_project: MakeProject) -> None:
    project = make_project(good_captions(12), scoring=JUDGED)
    for shard in project.recipe.shard_keys:
        for path in project.storage.files(judge_table(project.recipe, "vqa", shard)):
            project.storage.delete(path)
    html = page_of(project)
    assert table_row(html, "VQAScore") == ["–"] * 7
    assert "–" not in table_row(html, "SigLIP")
    assert "SigLIP over λ" in chart_titles(html)
    assert "VQAScore over λ" not in chart_titles(html)


def audited(**changed: Any) -> dict[str, Any]:
    audit = {"disagreement": {"judge": "siglip_score", "share": 0.25}}
    return {"strategy": "audited", "share": 0.4, "audit": audit} | changed


def test_what_the_audit_set_aside_is_shown_with_its_reason(make_project: MakeProject) -> None:
    project = make_project(good_captions(40), scoring=JUDGED, selection=audited())
    ids = set(project.storage.scan(SET_ASIDE).collect()["image_id"])
    assert len(ids) == 20
    facts = gather_facts(project.recipe, project.storage)
    [step] = facts.set_aside
    assert (step.name, step.count, step.share, step.note) == ("Disagreement", 20, 0.25, REASONS["disagreement"])
    assert facts.images[-1].note.endswith("; the audit set 20 images aside: 20 disagreement")
    assert "20 disagreement" in write_card(project.recipe, project.storage).text

    scored = scored_pairs(project.recipe, project.storage)
    galleries = {gallery.title: gallery for gallery in gather_galleries(project.recipe, project.storage, scored)}
    best = scored.filter(pl.col("image_id").is_in(ids)).collect().top_k(6, by="weighted_score")
    assert [pair.image_id for pair in galleries["Set aside"].pairs] == best["image_id"].to_list()
    for gallery in galleries.values():
        for pair in gallery.pairs:
            assert pair.reason == ("disagreement" if pair.image_id in ids else None)
            assert not (pair.reason and pair.rank)

    html = page_of(project)
    searched = html.split('<section id="browser">')[1].split("</section>")[0]
    chips = [
        (
            'data-group="left-out"' in figure,
            f'title="Left out. {REASONS["disagreement"]}">disagreement</span>' in figure,
        )
        for figure in searched.split("<figure")[1:]
    ]
    assert chips.count((True, True)) == 20
    assert chips.count((True, False)) == 80 - 20 - 16
    assert (False, True) not in chips
    assert "The audit plays no part in these charts." in html


def test_a_part_that_set_nothing_aside_says_so(make_project: MakeProject) -> None:
    audit = {"disagreement": {"judge": "siglip_score", "max_difference": 1.0}}
    project = make_project(good_captions(12), scoring=JUDGED, selection=audited(audit=audit))
    facts = gather_facts(project.recipe, project.storage)
    assert [(step.name, step.count) for step in facts.set_aside] == [("Disagreement", 0)]
    assert '<span class="chip aside"' not in page_of(project)


def test_a_table_that_another_recipe_left_is_not_shown(make_project: MakeProject) -> None:
    project = make_project(good_captions(12), scoring=JUDGED)
    left = scored_pairs(project.recipe, project.storage).filter(pl.col("rank").is_null()).collect()
    project.storage.write_table(SET_ASIDE, left.select("image_id", reason=pl.lit("quota")))
    assert gather_facts(project.recipe, project.storage).set_aside == ()
    html = page_of(project)
    assert '<span class="chip aside"' not in html
    assert "audit" not in html


def test_allowed_gaps_in_the_scores_are_stated_on_page_and_card(make_project: MakeProject) -> None:
    project = make_project(good_captions(20), selection={"share": 0.5, "allow_missing": 0.125})
    assert gather_facts(project.recipe, project.storage).unscored is None
    assert "have no score" not in page_of(project)
    assert "have no score" not in write_card(project.recipe, project.storage).text

    table = scores_table(project.recipe, project.recipe.shard_keys[0])
    scores = project.storage.scan(table).collect()
    chosen = project.selected["image_id"].implode()
    losing = scores.filter(~pl.col("image_id").is_in(chosen))["image_id"].head(3)
    project.storage.write_chunk(table, "chunk-0.parquet", scores.filter(~pl.col("image_id").is_in(losing.implode())))
    sentence = (
        "3 of the 40 planned images that could be made (7.50%) have no score and took no part in the selection; "
        "the recipe allows 12.5%."
    )
    assert gather_facts(project.recipe, project.storage).unscored == sentence
    assert sentence in page_of(project)
    assert f"\n\n{sentence}\n\n" in write_card(project.recipe, project.storage).text

    strict = project.recipe.model_copy(update={"selection": Selection(share=0.5)})
    assert gather_facts(strict, project.storage).unscored is None
