"""Captions that are markup, on every page made of them, in a real browser: no script runs, no request leaves."""

import pytest
from markdown_it import MarkdownIt

from synthvlm_dagster_tests.hardening.hostile_captions import HostileProject

# A renderer that escapes nothing and a page that forbids nothing: the markdown itself must be harmless.
_TRUSTING = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = HostileProject(tmp_path_factory.mktemp("hostile"))
    project.make()
    return project


def use_every_control(page):
    for control in page.locator("summary, button, [tabindex], [autofocus]").all():
        if control.is_visible():
            control.hover()
            control.focus()


def test_markdown_of_metadata_cards_and_previews(page, project, faults, tmp_path):
    parts = [f"<h2>{number}</h2>{_TRUSTING.render(text)}" for number, (_, text) in enumerate(project.markdown())]
    file = tmp_path / "markdown.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title>untouched</title>{''.join(parts)}", encoding="utf-8")
    page.goto(file.as_uri())
    page.wait_for_timeout(300)
    use_every_control(page)
    assert page.title() == "untouched"
    assert page.locator("script, iframe, svg, base, [onerror], [onload], [onmouseover]").count() == 0
    assert all(href.startswith("https://arxiv.org/") for href in _all(page, "a", "href"))
    assert all(src.startswith("data:image/") for src in _all(page, "img", "src"))
    assert "document.title = 'taken'" in page.inner_text("body"), "it is shown, as text"
    assert faults == []


def test_the_report(page, project, faults, screenshot):
    page.goto(f"file://{project.storage.url('dataset/report/index.html')}")
    page.wait_for_timeout(300)
    use_every_control(page)
    for words in ("script", "javascript:", "<img", "{{ 7"):
        page.get_by_placeholder("Words of the caption").fill(words)
        assert page.locator("#browser figure").count() >= 1
    assert page.title() == "hostile – quality report"
    assert all(src.startswith("data:image/") for src in _all(page, "img", "src"))
    assert all(href.startswith("#") for href in _all(page, "a", "href"))
    assert "{{ 7 * 7 }}" in page.locator("#browser").inner_text()
    screenshot("report-hostile")
    assert faults == []


def test_metadata_in_a_page_of_a_hub(page, project, faults, tmp_path):
    """As a site shows Croissant to search engines."""
    document = project.storage.read_bytes("dataset/huggingface/croissant.json").decode()
    file = tmp_path / "hub.html"
    file.write_text(
        "<!doctype html><meta charset=utf-8><title>untouched</title>"
        f'<script type="application/ld+json">{document}</script><p>end</p>',
        encoding="utf-8",
    )
    page.goto(file.as_uri())
    page.wait_for_timeout(200)
    assert page.inner_text("body").strip() == "end"
    assert page.title() == "untouched"
    assert faults == []


def _all(page, selector, attribute):
    return page.locator(selector).evaluate_all(f"found => found.map(one => one.getAttribute('{attribute}'))")
