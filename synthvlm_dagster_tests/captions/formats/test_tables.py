"""Tables whose first line, separator or order of columns is another than expected, and JSON of another kind."""

import json

import polars as pl
import pytest
from pydantic import ValidationError

from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource

PAIRS = [("a [big] dog", "http://e.org/1.jpg"), ("a cat", "https://e.org/2.jpg?w=1&h=2")]
CC3M = "".join(f"{caption}\t{url}\n" for caption, url in PAIRS)
CC12M = "".join(f"{url}\t{caption}\n" for caption, url in PAIRS)


def read(folder, name, content, **settings):
    (folder / name).write_text(content)
    return pl.concat(read_captions([CaptionSource(name="web", path=str(folder / name), **settings)]))


def pairs(raw):
    return raw.select("text", "image_uri").rows()


@pytest.mark.parametrize("layout", ["auto", "cc3m", "cc12m"])
@pytest.mark.parametrize(("header", "rows"), [("caption\turl\n", CC3M), ("url\tcaption\n", CC12M)])
def test_conceptual_captions_with_the_header_that_img2dataset_asks_for(tmp_path, layout, header, rows):
    assert pairs(read(tmp_path, "a.tsv", header + rows, format=layout)) == PAIRS


def test_conceptual_captions_with_another_header(tmp_path):
    columns = {"text": "title", "image": "link"}
    raw = read(tmp_path, "a.tsv", "title\tlink\n" + CC3M, format="cc3m", header=True, columns=columns)
    assert pairs(raw) == PAIRS


@pytest.mark.parametrize(("layout", "rows"), [("cc3m", CC12M), ("cc12m", CC3M)])
def test_conceptual_captions_read_the_wrong_way_round(tmp_path, layout, rows):
    with pytest.raises(
        CaptionSourceError, match=r"the captions are URLs, and the URLs are not\. Set the source's format"
    ):
        read(tmp_path, "a.tsv", rows, format=layout)


def test_captions_that_are_urls_beside_urls_are_no_mistake(tmp_path):
    assert read(tmp_path, "a.tsv", "http://e.org\thttp://e.org/1.jpg\n", format="cc3m").height == 1


@pytest.mark.parametrize(("layout", "rows"), [("cc3m", CC3M), ("cc12m", CC12M)])
def test_conceptual_captions_in_a_txt_file(tmp_path, layout, rows):
    assert pairs(read(tmp_path, "a.txt", rows)) == pairs(read(tmp_path, "b.txt", rows, format=layout)) == PAIRS


def test_a_txt_file_with_tabs_may_be_a_table_and_is_not_guessed(tmp_path):
    rows = "1000268201_693b08cb0e.jpg#0\tA child in a pink dress .\n"
    with pytest.raises(CaptionSourceError, match=r"the first line has tabs.*Set format: tsv .*format: txt"):
        read(tmp_path, "a.txt", rows)
    table = {"format": "tsv", "header": False, "column_names": ["image", "caption"]}
    assert read(tmp_path, "a.txt", rows, **table)["text"].to_list() == ["A child in a pink dress ."]
    assert read(tmp_path, "a.txt", rows, format="txt")["text"].to_list() == [rows.rstrip("\n")]


def test_another_separator(tmp_path):
    rows = 'image| number| caption\n1.jpg| 0|"a dog | a cat"\n'
    with pytest.raises(CaptionSourceError, match=r"separated by \|: set format: csv and separator: '\|'"):
        read(tmp_path, "a.csv", rows)
    raw = read(tmp_path, "a.csv", rows, separator="|", columns={"text": "caption", "image": "image"})
    assert pairs(raw) == [("a dog | a cat", f"{tmp_path}/1.jpg")]


@pytest.mark.parametrize("separator", ["", "||", '"', "\n"])
def test_what_is_no_separator(separator):
    with pytest.raises(ValidationError, match="separator"):
        CaptionSource(name="web", path="a.csv", separator=separator)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("a.csv", "id,TEXT\n1,a dog\n", r"columns are id, TEXT\. Set columns\.text .*\{text: TEXT\}"),
        ("a.csv", "id;caption\n1;a dog\n", "separated by ;: set format: csv and separator: ';'"),
        ("a.csv", "id\tcaption\n1\ta dog\n", "separated by tabs: set format: tsv"),
        ("a.csv", "a dog,1.jpg\n", "If the first line is a record, set header: false and name the columns"),
        ("a.tsv", "a dog\t\na cat\thttp://e.org/1.jpg\n", "If the first line is a record, set header: false"),
        ("a.csv", "caption,url,caption\na,b,c\n", "2 columns are called caption"),
        ("a.csv", f"{'long' * 99},id\na,b\n", f"columns are {'long' * 15}…, id"),
        ("a.csv", f"{','.join(map(str, range(99)))}\na\n", "48, 49, 49 more"),
    ],
)
def test_a_first_line_that_names_no_caption(tmp_path, name, rows, message):
    with pytest.raises(CaptionSourceError, match=message):
        read(tmp_path, name, rows)


def test_lines_that_a_quote_takes_along_are_all_bad_rows(tmp_path):
    rows = 'caption\n"opened,\n' + "a dog\n" * 6 + 'a "cat"\nlast\n'
    raw = read(tmp_path, "a.csv", rows, max_bad_share=1)
    assert raw["text"].to_list() == [*[None] * 8, "last"]
    with pytest.raises(CaptionSourceError, match=r"8 of the 9 rows .*not valid CSV"):
        read(tmp_path, "a.csv", rows)


def test_columns_of_a_headerless_table_want_names(tmp_path):
    with pytest.raises(CaptionSourceError, match=r"columns are column_1, column_2\. .*in order: column_names"):
        read(tmp_path, "a.csv", "a dog,1.jpg\n", header=False)


LLAVA = {
    "id": "1",
    "image": "1.jpg",
    "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "a dog"}],
}


@pytest.mark.parametrize(("name", "layout"), [("a.jsonl", "auto"), ("a.json", "auto"), ("a.json", "llava")])
def test_llava_as_one_object_a_line(tmp_path, name, layout):
    raw = read(tmp_path, name, f"{json.dumps(LLAVA)}\n{{broken\n[]\n", format=layout, max_bad_share=1)
    assert raw.select("source_row", "text", "image_uri", "problem").rows() == [
        (0, "a dog", f"{tmp_path}/1.jpg", None),
        (1, None, None, "the line is not valid JSON"),
        (2, None, None, "the item is not a JSON object"),
    ]


def test_one_object_in_one_line_without_an_end_is_a_line(tmp_path):
    assert read(tmp_path, "a.json", '{"caption": "a dog"}')["text"].to_list() == ["a dog"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"id": 1, "blip_caption": "a dog"}]', r"columns are blip_caption, id\. .*\{text: blip_caption\}"),
        ("a.json", '["a dog"]', "no item has the field caption .* the first is str 'a dog'"),
        ("a.jsonl", "a dog\na cat\n", "one JSON object a line is expected; of line 1: the line is not valid JSON"),
        ("a.jsonl", "3\n4\n", "one JSON object a line is expected; of line 1: it is not a JSON object"),
    ],
)
def test_json_of_another_kind(tmp_path, name, content, message):
    with pytest.raises(CaptionSourceError, match=message):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("layout", "settings"),
    [
        ("llava", {"columns": {"text": "caption"}}),
        ("coco", {"columns": {"image": "coco_url"}}),
        ("txt", {"columns": {"text": "caption"}}),
        ("parquet", {"header": False}),
        ("jsonl", {"separator": ";"}),
        ("tsv", {"separator": ";"}),
        ("laion", {"header": False, "column_names": ["caption"]}),
    ],
)
def test_a_setting_that_the_format_has_no_use_for(layout, settings):
    names = ", ".join(sorted(settings))
    with pytest.raises(ValidationError, match=f"{names}: format {layout} has no such setting"):
        CaptionSource(name="web", path="a", format=layout, **settings)


def test_a_setting_that_the_detected_format_has_no_use_for(tmp_path):
    with pytest.raises(
        CaptionSourceError, match="seems to be in the format txt, which has no use for the source's columns"
    ):
        read(tmp_path, "a.txt", "a dog\n", columns={"text": "caption"})
