"""The report in a real browser, opened from disk: it is searched, shrunk to a phone, and fed with hostile captions."""

from pathlib import Path

import pytest

from synthvlm_dagster.dataset.report.page import PAGE, write_report
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.dataset.conftest import HOSTILE_CAPTION, fill, good_captions

HOSTILE = (
    HOSTILE_CAPTION,
    "</script><script>document.title = 'taken'</script> a small red circle on a plain white page, near its edge",
    '" onmouseover="document.title = \'taken\'" x=" a large blue circle in the middle of a plain white page',
    "</title></style><img src=x onerror=\"document.title = 'taken'\"> a green circle on a plain white page",
    "<iframe srcdoc='<script>parent.document.title = `taken`</script>'></iframe> one circle on a plain white page",
)
RULES = {"special_char_ratio": None, "alnum_ratio": None, "char_rep_ratio": None, "word_rep_ratio": None}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The path of a page whose captions are partly attacks."""
    folder = tmp_path_factory.mktemp("report")
    recipe = Recipe.model_validate(
        {
            "name": "hostile",
            "description": "</title><script>document.title = 'taken'</script>",
            "storage": str(folder / "store"),
            "sources": [{"name": "given", "path": str(folder / "captions.txt")}],
            "shards": 2,
            "curation": {"rules": RULES},
            "attempts": {"per_caption": 2},
            "generation": {"model": "maker/circles", "image_format": "png", "width": 64, "height": 64},
            "scoring": {"clip": {"model": "hf-hub:maker/judge", "pretrained": None}},
            "selection": {"share": 0.5},
        }
    )
    storage = Storage(recipe.storage)
    fill(recipe, storage, [*good_captions(25), *HOSTILE])
    write_report(recipe, storage)
    return Path(storage.url(PAGE))


def shown(page):
    return page.locator("#browser figure")


def test_the_pairs_are_searched_filtered_and_sorted(page, report, faults, screenshot):
    page.goto(report.as_uri())
    count = page.locator("#browser output")
    assert count.inner_text() == "24 of 60 pairs"
    page.get_by_role("button", name="Show more").click()
    assert shown(page).count() == 60
    assert page.get_by_role("button", name="Show more").is_hidden()

    page.get_by_placeholder("Words of the caption").fill("CRIMSON  number 6")
    assert set(shown(page).locator("p").all_inner_texts()) == {
        "a large crimson circle, number 6, on a plain white background"
    }
    page.get_by_placeholder("Words of the caption").fill("zebra")
    assert count.inner_text() == "No pair has these words."
    page.get_by_placeholder("Words of the caption").fill("")

    page.get_by_text("Left out", exact=True).last.click()
    assert count.inner_text() == "24 of 45 pairs"
    assert set(shown(page).locator(".chip").filter(has_text="left out").all_inner_texts()) == {"left out"}
    page.get_by_label("Order").select_option("clip low")
    scores = [float(text.split()[1]) for text in shown(page).get_by_title("CLIPScore").all_inner_texts()]
    assert scores == sorted(scores)
    assert len(scores) == 24
    page.get_by_text("Selected", exact=True).last.click()
    page.get_by_label("Order").select_option("rank")
    assert shown(page).locator(".chip.selected").all_inner_texts() == [f"#{rank}" for rank in range(1, 16)]
    screenshot("report-search")
    assert faults == []


def test_hostile_captions_are_text(page, report, faults):
    page.goto(report.as_uri())
    page.locator("#browser button").click()
    texts = [" ".join(text.split()) for text in shown(page).locator("p").all_inner_texts()]
    for caption in HOSTILE:
        assert texts.count(" ".join(caption.split())) == 2, caption
    shown(page).first.hover()
    for caption in HOSTILE:
        page.get_by_placeholder("Words of the caption").fill(caption[:20])
    assert page.title() == "hostile – quality report"
    assert page.locator("script, iframe, [onmouseover], [onerror]").count() == 1, "the page's own script alone"
    assert faults == []


def test_a_script_that_got_in_would_not_run(page, report, tmp_path):
    """The second line of defence: what the template would have to let through, the policy stops."""
    broken = tmp_path / "broken.html"
    attack = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\"><main>"
    broken.write_text(report.read_text(encoding="utf-8").replace("<main>", attack), encoding="utf-8")
    page.goto(broken.as_uri())
    page.wait_for_timeout(200)
    assert page.title() == "hostile – quality report"
    assert page.locator("#browser output").inner_text() == "24 of 60 pairs", "its own script still does"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_wider_than_the_screen(page, report, faults, screenshot, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(report.as_uri())
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    broken = "() => [...document.images].filter(image => image.complete && image.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0
    screenshot(f"report-{width}-{scheme}")
    assert faults == []
