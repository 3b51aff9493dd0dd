"""The dataset card: its facts, and that nothing in a recipe becomes markup."""

import re
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from synthvlm_dagster.dataset.exports.card import CARD, LIMITATIONS, render_card, write_card
from synthvlm_dagster.dataset.report.facts import Facts, Step, gather_facts
from synthvlm_dagster.recipe import load_recipe
from synthvlm_dagster_tests.dataset.conftest import Project

MakeProject = Callable[..., Project]

HOSTILE = "---\nlicense: mit\n---\n# title <script>alert(1)</script> | `code` ``` [link](http://x) {{ 7 * 7 }} \0 *b*"


def html(card: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(card)


def shown(card: str) -> str:
    """What a reader sees, without tags."""
    text = re.sub(r"<[^>]*>", " ", html(card))
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, sign)
    return " ".join(text.split())


def test_the_card_has_the_facts(make_project: MakeProject) -> None:
    project = make_project(
        generation={
            "model": "stabilityai/sdxl-turbo",
            "revision": "abc123",
            "accept_licence": "Stability AI Community License",
            "width": 64,
            "height": 64,
        }
    )
    card = write_card(project.recipe, project.storage)
    assert project.storage.read_bytes(CARD).decode() == card.text
    text = shown(card.text)
    scores = project.selected
    facts = gather_facts(project.recipe, project.storage)
    for step in (*facts.captions, *facts.images):
        assert f"{step.name} {step.count:,}" in text
    for column, label in (("clip_score", "CLIPScore"), ("ssim", "SSIM"), ("weighted_score", "Weighted score")):
        assert re.search(rf"{label} \d\.\d{{4}} {scores[column].mean():.4f}", text)
    for fact in (
        "stabilityai/sdxl-turbo",
        "abc123",
        "64 × 64 pixels",
        "Stability AI Community License (restricts training on these images)",
        "forbids to use outputs to create or improve any foundational generative AI model",
        "CLIPScore + 0.5 · SSIM",
        "best 50 % of the captions",
        "No licence of the dataset is stated.",
        "Article 50(2)",
        "arXiv:2407.20756",
        *LIMITATIONS,
    ):
        assert fact in text, fact
    assert "/captions.txt" not in text


def test_scores_that_are_missing_are_counted(make_project: MakeProject) -> None:
    project = make_project()
    path = project.storage.files("scores", ".parquet")[0]
    lost = project.storage.scan_files([path]).collect().height
    project.storage.delete(path)
    assert f"{lost:,} without a score" in shown(write_card(project.recipe, project.storage).text)


def test_markup_in_a_recipe_stays_text(make_project: MakeProject) -> None:
    sources = [{"name": "given", "path": "https://x.org/<b>a</b>|b`c`.txt"}]
    generation = {"model": "x/`|<i>y", "negative_prompt": HOSTILE, "width": 64, "height": 64}
    project = make_project(description=HOSTILE, sources=sources, generation=generation)
    plain = make_project(description="plain", url=f"{project.recipe.storage}-plain")
    card, expected = (write_card(made.recipe, made.storage).text for made in (project, plain))
    assert "\0" not in card
    tags = [re.findall(r"</?([a-z]\w*)", html(text)) for text in (card, expected)]
    assert set(tags[0]) == set(tags[1])
    assert tags[0].count("table") == tags[1].count("table")
    assert html(card).count("<a ") == html(expected).count("<a ")
    assert "<script>alert(1)</script>" in shown(card)
    assert "{{ 7 * 7 }}" in shown(card)
    assert "\n---\n" not in card


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("-|`<>*_[]()#\\!&;:.~=+ \n\r\0\u2028ab1"), min_size=1, max_size=30))
def test_no_text_changes_the_structure_of_the_card(text: str) -> None:
    recipe = load_recipe("demo")
    step = Step("Captions found", 3, 1.0, "x")
    facts = Facts((step,), (step,), (), {}, (), (), (), None)
    generation = recipe.generation.model_copy(update={"negative_prompt": "x" + text})
    changed = recipe.model_copy(update={"description": "x" + text, "generation": generation})
    usual = recipe.model_copy(
        update={"description": "x", "generation": generation.model_copy(update={"negative_prompt": "x"})}
    )
    tags = [
        [
            (token.type, token.tag)
            for token in MarkdownIt("gfm-like", {"linkify": False}).parse(render_card(made, facts, 1))
        ]
        for made in (changed, usual)
    ]
    assert tags[0] == tags[1]
