"""JSON lists larger than memory, with strings that are no Unicode, and broken at any place."""

import json
import re
import tracemalloc

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.captions.files import find_files
from synthvlm_dagster.captions.parsing import json_stream
from synthvlm_dagster.captions.parsing.json_stream import json_items
from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.captions.rows import UNREADABLE
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource


def source(folder, content, **settings):
    file = folder / "a.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return CaptionSource(**{"name": "source", "path": str(file), "max_bad_share": 1, **settings})


def read(folder, content, **settings):
    return pl.concat(read_captions([source(folder, content, **settings)]))


def captions(*strings):
    """A SynthVLM list of captions that are given as bytes of JSON, without their quotes."""
    return b"[" + b",\n".join(b'{"caption": "' + string + b'"}' for string in strings) + b"]"


@pytest.mark.parametrize(
    ("string", "text"),
    [
        (b"caf\xe9", None),
        (b"\xff\xfe", None),
        (b"cut \xf0\x9f\x98", None),
        (rb"\ud83d", None),
        (rb"\uDE00 first", None),
        (rb"\ud83d\u0041", None),
        (rb"\ud83d\ud83d\ude00", None),
        (rb"\ud83d\ude00", "😀"),
        (rb"\\ud83d", r"\ud83d"),
        (rb"\\\ud83d", None),
        (rb"\"quoted\"\n", '"quoted"\n'),
        ("😀 é".encode(), "😀 é"),
        (b"7" * 1999, "7" * 1999),
        (b"7" * 9999, None),
    ],
)
def test_strings_that_are_no_unicode_cost_their_own_row(tmp_path, string, text):
    raw = read(tmp_path, captions(b"before", string, b"behind"))
    assert raw["text"].to_list() == ["before", text, "behind"]
    assert raw["problem"].to_list() == [None, None if text else "caption is not valid UTF-8", None]


PIECES = [r"\\", r"\ud83d\ude00", r"\ud83d", r"\ude00", r"\n", r"\"", r"\u00e9", "é", "😀", "ud83d", "a"]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), min_size=1, max_size=6), st.integers(1, 40))
def test_blocks_may_end_anywhere(tmp_path_factory, strings, block):
    content = "[" + ",".join(f'"{string}"' for string in strings) + "]"
    expected = [re.sub("[\ud800-\udfff]", UNREADABLE, text) for text in json.loads(content)]
    [file] = find_files(source(tmp_path_factory.mktemp("blocks"), content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BLOCK", block)
        assert list(json_items(file, "item")) == expected


@given(st.data())
def test_a_cut_file_tells_its_end(tmp_path_factory, data):
    content = json.dumps([{"caption": "a dog"}, {"caption": "a cat", "image": None, "tags": [1, 2.5, True]}], indent=1)
    end = data.draw(st.integers(1, len(content) - 1))
    line, column = content[:end].count("\n") + 1, end - content[:end].rfind("\n")
    with pytest.raises(CaptionSourceError, match=f"line {line}, column {column} .* the file ends before its JSON does"):
        read(tmp_path_factory.mktemp("cut"), content[:end], format="synthvlm")


@pytest.mark.parametrize("number", [0, 1, 2_000, 9_999])
def test_a_broken_item_is_found_in_any_block(tmp_path, number):
    lines = [json.dumps({"caption": f"caption number {number} é"}, ensure_ascii=False) for number in range(10_000)]
    lines[number] = '{"caption": nothing}'
    with pytest.raises(
        CaptionSourceError, match=rf"line {number + 1}, column {14 if number else 15} is not valid JSON"
    ):
        read(tmp_path, "[" + ",\n".join(lines) + "]", format="synthvlm")


def test_what_stands_before_a_broken_place_is_read(tmp_path):
    item = json.dumps({"conversations": [{"from": "gpt", "value": "a dog"}]})
    frames = []
    with pytest.raises(CaptionSourceError, match="the file ends before its JSON does"):
        frames.extend(read_captions([source(tmp_path, "[" + f"{item}," * 60_000)]))
    assert [frame.height for frame in frames] == [50_000]


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak(items):
        item = json.dumps({"image": "1.jpg", "conversations": [{"from": "gpt", "value": "a dog on a lawn"}]})
        big = source(tmp_path, "[" + ",".join([item] * items) + "]", format="llava")
        tracemalloc.start()
        rows = sum(frame.height for frame in read_captions([big]))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == items
        return most

    peak(100)
    assert peak(150_000) < 1.2 * peak(50_000)


@pytest.mark.parametrize(
    "item", ["[" * 9999 + "]" * 9999, '{"a":' * 9999 + "1" + "}" * 9999, "1" + "0" * 1500, "1e9999"]
)
def test_odd_items_cost_their_own_row(tmp_path, item):
    raw = read(tmp_path, f'[{{"caption": "a dog"}}, {item}, {{"caption": {item}}}]')
    assert raw["text"].to_list() == ["a dog", None, None]


def test_coco_annotations_before_their_images(tmp_path):
    content = {
        "annotations": [{"image_id": 1, "id": 5, "caption": "a dog"}, {"image_id": "1", "id": 6, "caption": "a cat"}],
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": [], "file_name": "2.jpg"}, None],
    }
    raw = read(tmp_path, json.dumps(content))
    assert raw["text"].to_list() == ["a dog", "a cat"]
    assert raw["image_uri"].to_list() == [f"{tmp_path}/1.jpg", None]


def test_bad_values_of_sbu(tmp_path):
    content = {"captions": ["a dog", None, 7, " "], "image_urls": [None, "http://e.org/2.jpg", 3, "4.jpg"]}
    raw = read(tmp_path, json.dumps(content))
    assert raw.select("text", "image_uri", "problem").rows() == [
        ("a dog", None, None),
        (None, "http://e.org/2.jpg", "the caption is null"),
        (None, None, "the caption is a number, not a string"),
        (None, f"{tmp_path}/4.jpg", "the caption is empty"),
    ]


def test_llava_tuning_mixtures_have_items_without_image(tmp_path):
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A dog."}]
    content = [
        {"id": "000000033471", "image": "coco/train2017/000000033471.jpg", "conversations": turns},
        {"id": "VG_100K/1", "image": "vg/VG_100K/1.jpg", "conversations": turns * 2},
        {"id": "yM5lDGr_0", "model": "", "conversations": turns},
    ]
    raw = read(tmp_path, json.dumps(content), image_root="s3://images/")
    assert raw.select("source_row", "image_uri").rows() == [
        (0, "s3://images/coco/train2017/000000033471.jpg"),
        (1, "s3://images/vg/VG_100K/1.jpg"),
        (1, "s3://images/vg/VG_100K/1.jpg"),
        (2, None),
    ]


def test_lists_with_other_fields(tmp_path):
    content = [
        {"prompt": "a dog", "file": "1.jpg", "score": 0.25},
        {"prompt": ["a cat", "a pet"], "score": [0.5, 0.75]},
    ]
    columns = {"text": "prompt", "image": "file", "clip_similarity": "score"}
    raw = read(tmp_path, json.dumps(content), columns=columns)
    assert raw.select("text", "image_uri", "clip_similarity").rows() == [
        ("a dog", f"{tmp_path}/1.jpg", 0.25),
        ("a cat", None, 0.5),
        ("a pet", None, 0.75),
    ]


@pytest.mark.parametrize(
    ("content", "layout_text"),
    [
        ('{"annotations": [{"caption": "a dog", "image_id": 1}]}\n', "a dog"),
        ('{"captions": ["a dog"], "image_urls": [null]}\n', "a dog"),
        ('{"caption": "a dog", "captions": ["another"], "annotations": null}\n{"caption": "a cat"}\n', "a dog"),
        ('{\n "info": {},\n "annotations": [{"caption": "a dog", "image_id": 1}]}', "a dog"),
        ('{\n "user_ids": ["1"],\n "captions": ["a dog"], "image_urls": ["1.jpg"]}', "a dog"),
    ],
)
def test_objects_are_told_from_lines(tmp_path, content, layout_text):
    assert read(tmp_path, content)["text"][0] == layout_text
