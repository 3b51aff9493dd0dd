"""Captions, descriptions and file names are text on every page: in Dagster's metadata, cards, reports and exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from synthvlm_dagster_tests.hardening.hostile_captions import HOSTILE, HostileProject

# What the program itself writes: the paper's and the project's addresses, and the picture of a contact sheet.
_OWN_LINKS = re.compile(r"https://(arxiv\.org|github\.com)/.*")
# What mdast-util-gfm-autolink-literal, of Dagster's page, makes links of after the escapes of a text are read.
_ADDRESS = re.compile(r"(https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(\.[-\w]+)+", re.IGNORECASE)
_OWN_PICTURES = re.compile(r"data:image/(jpeg|webp);base64,[A-Za-z0-9+/=]+")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> HostileProject:
    project = HostileProject(tmp_path_factory.mktemp("hostile"))
    project.make()
    return project


def tokens(text: str) -> Iterator[Token]:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for block in parser.parse(text):
        yield block
        yield from block.children or ()


def test_captions_are_shown_in_many_places(project):
    shown = dict(project.markdown())
    assert len(shown) >= 12
    everything = "\n".join(shown.values())
    assert "evil" in everything, "the attacks are shown"
    assert {"raw_captions, sources", "rejected_captions, most_rejected", "quality_report, preview"} <= shown.keys()


def test_no_markup_of_theirs_is_in_any_markdown(project):
    for name, text in project.markdown():
        if name.endswith("README.md"):
            header, _, text = text.removeprefix("---\n").partition("\n---\n")
            assert yaml.safe_load(header)["tags"], "the header is not ended by a caption"
            assert yaml.safe_load(header)["license"] == "unknown", "nor written by one"
        for token in tokens(text):
            assert token.type not in ("html_block", "html_inline"), (name, token.content)
            if token.type == "image":
                assert _OWN_PICTURES.fullmatch(str(token.attrs["src"])), (name, token.attrs)
            if token.type == "link_open":
                assert _OWN_LINKS.fullmatch(str(token.attrs["href"])), (name, token.attrs)
            if token.type == "text":
                assert not _ADDRESS.search(token.content), (name, token.content)
        # Which a stray pipe would change.
        for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().splitlines()}
            assert len(widths) == 1, (name, table)


class Tags(HTMLParser):
    """The names of a page's elements, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_the_page_has_one_script_and_a_policy(project):
    page = project.storage.read_bytes("dataset/report/index.html").decode()
    assert len(re.findall(r"<script", page)) == len(re.findall(r"</script", page)) == 1
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', page)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "script-src 'sha256-" in policy[1]
    tags = Tags()
    tags.feed(page)
    assert not {name for name in tags.names if name in ("iframe", "base", "math", "object", "embed", "link")}
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    places = [value for name, value in tags.attributes if name in ("src", "href", "action", "srcdoc")]
    assert all(value.startswith(("#", "data:image/")) for value in places)


def test_metadata_for_machines_is_json_that_html_can_hold(project):
    text = project.storage.read_bytes("dataset/huggingface/croissant.json").decode()
    croissant = json.loads(text)
    assert croissant["creator"]["name"] == HOSTILE[1]
    # Sites put it into a <script>, as search engines ask them to.
    assert not re.search(r"[<>&\u2028\u2029]", text)


def test_llava_keeps_its_marks_for_itself(project):
    entries = json.loads(project.storage.read_bytes("dataset/llava/synthvlm.json"))
    assert {entry["conversations"][0]["value"].count("<image>") for entry in entries} == {1}
    told = [entry["conversations"][1]["value"] for entry in entries]
    assert any("<script>" in text for text in told), "captions are data here, and stay as they are"
