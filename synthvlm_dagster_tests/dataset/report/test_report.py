"""The report's page: its numbers, its pictures, and that captions stay text."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest
from PIL import Image

from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.report import browse
from synthvlm_dagster.dataset.report.browse import gather_browser
from synthvlm_dagster.dataset.report.cost import GENERATION, SCORING
from synthvlm_dagster.dataset.report.facts import gather_facts, scored_pairs
from synthvlm_dagster.dataset.report.gallery import THUMBNAIL_SIDE, gather_galleries, thumbnail
from synthvlm_dagster.dataset.report.page import PAGE, preview, write_report
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.orchestration.work import Work
from synthvlm_dagster_tests.dataset.conftest import HOSTILE_CAPTION, Project, good_captions

MakeProject = Callable[..., Project]


class Page(HTMLParser):
    """What a browser would find in the page: elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attributes[name] or "" for found, attributes in self.elements if found == tag and name in attributes]


def written_page(project: Project) -> Page:
    write_report(project.recipe, project.storage)
    return Page(project.storage.read_bytes(PAGE).decode())


def test_the_funnel_counts_every_step(make_project: MakeProject) -> None:
    project = make_project(attempts={"per_caption": 2, "max_captions": 8})
    facts = gather_facts(project.recipe, project.storage)
    found, kept, synthesized = facts.captions
    assert (found.count, kept.count, synthesized.count) == (14, 12, 8)
    assert [step.count for step in facts.images] == [16, 16, 16, 4]
    assert {rule.name: rule.count for rule in facts.rules} == {"word_rep_ratio": 1, "unreadable_row": 1}
    examples = {rule.name: rule.examples[0] for rule in facts.rules}
    assert examples["word_rep_ratio"].value is not None
    assert examples["word_rep_ratio"].value > 0.5
    assert examples["unreadable_row"].text == "the line is empty"


def test_means_and_medians_are_those_of_the_groups(make_project: MakeProject) -> None:
    project = make_project()
    scores = scored_pairs(project.recipe, project.storage).collect()
    selected = scores.filter(pl.col("rank").is_not_null())
    left_out = scores.filter(pl.col("rank").is_null())
    facts = gather_facts(project.recipe, project.storage)
    for column, line in zip(("clip_score", "ssim", "weighted_score"), facts.comparisons, strict=True):
        groups = ((scores, line.everything), (selected, line.selected), (left_out, line.left_out))
        for frame, average in groups:
            assert average.mean == pytest.approx(frame[column].mean())
            assert average.median == pytest.approx(frame[column].median())
        assert line.gain == pytest.approx(selected[column].mean() - scores[column].mean())
    assert facts.lowest_selected == pytest.approx(project.selected["weighted_score"].min())


def test_the_bins_hold_every_image_once(make_project: MakeProject) -> None:
    project = make_project(good_captions(60))
    facts = gather_facts(project.recipe, project.storage)
    scores = scored_pairs(project.recipe, project.storage).collect()
    assert len(facts.distributions) == 3
    for column, bins in zip(("clip_score", "ssim", "weighted_score"), facts.distributions, strict=True):
        assert sum(bins.everything) == scores.height == 120
        assert sum(bins.selected) == project.selected.height
        assert all(0 <= chosen <= of for chosen, of in zip(bins.selected, bins.everything, strict=True))
        assert bins.low <= scores[column].min() <= bins.low + bins.step
        edge = bins.low + bins.step * 10
        assert sum(bins.everything[:10]) == scores.filter(pl.col(column) < edge).height


def test_galleries_show_best_last_and_left_out(make_project: MakeProject) -> None:
    project = make_project(good_captions(70), selection={"count": 40})
    scored = scored_pairs(project.recipe, project.storage)
    best, last, left_out = gather_galleries(project.recipe, project.storage, scored)
    assert [pair.rank for pair in best.pairs] == list(range(1, 25))
    assert [pair.rank for pair in last.pairs] == list(range(29, 41))
    lowest = scored.filter(pl.col("rank").is_null()).collect()["weighted_score"].sort().head(24)
    assert [pair.weighted_score for pair in left_out.pairs] == lowest.to_list()
    assert {pair.rank for pair in left_out.pairs} == {None}


def test_the_page_needs_no_other_file(make_project: MakeProject) -> None:
    page = written_page(make_project())
    images = page.attributes("img", "src")
    assert len(images) == 48, "24 images, each in a gallery and in the sample to search"
    for source in images:
        kind, _, content = source.partition(",")
        assert kind == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert max(image.size) <= THUMBNAIL_SIDE
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert page.attributes("script", "src") == []
    assert not [
        url
        for name in ("src", "href")
        for tag, found in page.elements
        if (url := found.get(name)) and not url.startswith(("data:", "#"))
    ]
    assert len(page.attributes("svg", "viewbox")) == 7
    ids = page.attributes("section", "id")
    assert [link.removeprefix("#") in ids for link in page.attributes("a", "href")] == [True] * 7


def test_captions_with_html_are_text(make_project: MakeProject) -> None:
    attack = '"><svg onload=alert(2)></svg>{{ 7 * 7 }} next to it stands a small red circle on a plain white page'
    rejected = "<b>bold</b> " * 30
    project = make_project([HOSTILE_CAPTION, attack, rejected], selection={"count": 2})
    page = written_page(project)
    html = project.storage.read_bytes(PAGE).decode()
    assert HOSTILE_CAPTION in page.text
    assert attack in page.text
    assert "<b>bold</b> <b>bold</b>" in page.text
    assert {HOSTILE_CAPTION, attack} <= set(page.attributes("p", "title"))
    assert [tag for tag, _ in page.elements].count("script") == html.count("<script") == 1
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    assert "Tables <b>made</b> for tests." in page.text


def test_the_page_says_what_made_the_images(make_project: MakeProject) -> None:
    settings = {"num_inference_steps": 7, "guidance_scale": 3.5, "licence": "CC-BY-4.0", "image_format": "png"}
    project = make_project(generation={"model": "maker/circles", **settings})
    text = written_page(project).text
    for shown in ("maker/circles", "7 steps", "guidance 3.5", "CC-BY-4.0", "hf-hub:maker/judge", "A photo depicts"):
        assert shown in text


def test_a_page_without_scores_can_be_written(make_project: MakeProject) -> None:
    project = make_project()
    for path in project.storage.files("scores"):
        project.storage.delete(path)
    project.storage.write_table(SELECTED, project.selected.clear())
    page = written_page(project)
    assert "No image has been scored yet" in page.text
    assert page.attributes("img", "src") == []


def policy(html: str, directive: str) -> str:
    found = re.search(rf"[ ;\"]{directive} '([^']+)'", html)
    assert found is not None
    return found.group(1)


def test_the_policy_names_the_pages_own_script_and_style(make_project: MakeProject) -> None:
    project = make_project()
    write_report(project.recipe, project.storage)
    html = project.storage.read_bytes(PAGE).decode()
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        inline = html.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert policy(html, directive) == f"sha256-{digest}"
    assert policy(html, "default-src") == "none"


def test_the_searchable_sample_is_stable_half_selected_and_bounded(make_project: MakeProject) -> None:
    project = make_project(good_captions(40), report={"gallery_pairs": 20})
    scored = scored_pairs(project.recipe, project.storage)
    browser = gather_browser(project.recipe, project.storage, scored)
    assert (browser.selected, browser.left_out) == (10, 10)
    assert (browser.of_selected, browser.of_left_out) == (20, 60)
    ranks = [pair.rank for pair in browser.pairs]
    assert ranks[:10] == sorted(rank for rank in ranks if rank is not None)
    scores = [pair.weighted_score for pair in browser.pairs[10:]]
    assert scores == sorted(scores, reverse=True)
    assert browser == gather_browser(project.recipe, project.storage, scored)


def test_the_sample_is_cut_where_its_pictures_become_too_large(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(good_captions(40), report={"gallery_pairs": 40})
    scored = scored_pairs(project.recipe, project.storage)
    whole = gather_browser(project.recipe, project.storage, scored)
    assert len(whole.pairs) == 40
    monkeypatch.setattr(browse, "_MOST_BYTES", sum(len(pair.thumbnail) for pair in whole.pairs) // 2)
    cut = gather_browser(project.recipe, project.storage, scored)
    assert set(cut.pairs) < set(whole.pairs)
    assert 12 <= len(cut.pairs) <= 28
    assert abs(cut.selected - cut.left_out) <= 1


def test_a_recipe_without_searchable_pairs_has_none(make_project: MakeProject) -> None:
    page = written_page(make_project(report={"gallery_pairs": 0}))
    assert len(page.attributes("img", "src")) == 24
    assert "Search the pairs" not in page.text


def test_the_cost_is_on_the_page_when_the_time_is_known(make_project: MakeProject) -> None:
    generation = {"model": "maker/circles", "image_format": "png", "price_per_gpu_hour": 3.6}
    project = make_project(generation=generation)
    work = {GENERATION: Work(12, 20.0, 4.0, on_gpu=True), SCORING: Work(24, 6.0)}
    write_report(project.recipe, project.storage, work)
    page = Page(project.storage.read_bytes(PAGE).decode())
    assert "GPU-seconds" in page.text
    cells = " ".join(page.text.split("Cost of a selected pair")[1].split("Best of")[0].split())
    # 24 images of 2 s, and 24 of 0.25 s, for 6 pairs; 3.6 dollars an hour are 0.001 a second.
    assert "Generation24280.008" in cells
    assert "Scoring240.2510.001" in cells
    assert "Together90.009" in cells
    assert "Cost of a selected pair" not in written_page(project).text


@pytest.mark.parametrize(("strategy", "charts"), [("paper", 7), ("random", 4), ("clip-only", 4)])
def test_the_sweep_is_drawn_where_there_is_a_weight(make_project: MakeProject, strategy: str, charts: int) -> None:
    page = written_page(make_project(selection={"strategy": strategy, "share": 0.5}))
    assert len(page.attributes("svg", "viewbox")) == charts
    assert ("Other weights of SSIM" in page.text) == (charts == 7)


def test_equal_tables_give_the_same_page(make_project: MakeProject) -> None:
    project = make_project()
    write_report(project.recipe, project.storage)
    first = project.storage.read_bytes(PAGE)
    write_report(project.recipe, project.storage)
    assert project.storage.read_bytes(PAGE) == first


def test_the_preview_is_small_and_has_the_means(make_project: MakeProject) -> None:
    project = make_project(good_captions(30))
    facts = gather_facts(project.recipe, project.storage)
    markdown = preview(project.recipe, project.storage, facts)
    assert len(markdown) < 64_000
    assert f"| CLIPScore | {facts.comparisons[0].everything.mean:.3f} |" in markdown
    assert "](data:image/" in markdown


def test_thumbnails_shrink_and_never_grow() -> None:
    def size(width: int, height: int) -> tuple[int, int]:
        stream = io.BytesIO()
        Image.new("RGB", (width, height), "teal").save(stream, "jpeg")
        content = thumbnail(stream.getvalue(), "x", "0000").partition(",")[2]
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            return image.size

    assert size(1024, 512) == (160, 80)
    assert size(64, 64) == (64, 64)


def test_an_image_that_is_none_is_named() -> None:
    with pytest.raises(ImageError, match=r"image 0123-00 of shard 0001: cannot be decoded.*generated_images\[0001\]"):
        thumbnail(b"no picture", "0123-00", "0001")
