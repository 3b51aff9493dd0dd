"""SBU Captions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from synthvlm_dagster.captions.files import SourceFile
from synthvlm_dagster.captions.format import Format
from synthvlm_dagster.captions.parsing.format_errors import FormatError
from synthvlm_dagster.captions.parsing.json_lists import require_lists, require_start
from synthvlm_dagster.captions.parsing.json_stream import json_items
from synthvlm_dagster.captions.parsing.sample import Sample
from synthvlm_dagster.captions.rows import MISSING, Frames, Row, to_frames
from synthvlm_dagster.recipe import CaptionSource

FIELDS = (b"image_urls", b"captions", b"user_ids")
"""Lists of the object, one of which stands first."""


def read_sbu(file: SourceFile, _: CaptionSource) -> Frames:
    """SBU Captions: a JSON object with the parallel lists `image_urls` and `captions` (and `user_ids`)."""
    require_start(file, "{", "sbu")
    return to_frames(_sbu_rows(file), "the caption")


def _sbu_rows(file: SourceFile) -> Iterator[Row]:
    pairs = zip_longest(json_items(file, "captions.item"), json_items(file, "image_urls.item"), fillvalue=MISSING)
    number = -1
    for number, (caption, url) in enumerate(pairs):
        if caption is MISSING or url is MISSING:
            require_lists(file, "sbu", "captions", "image_urls")
            longer = number + 1 + sum(1 for _ in pairs)
            captions, urls = (number, longer) if caption is MISSING else (longer, number)
            raise FormatError(
                f"captions has {captions:,} items and image_urls {urls:,} (format sbu): the lists must be parallel"
            )
        yield Row(number, caption, url)
    if number < 0:
        require_lists(file, "sbu", "captions", "image_urls")


def _is_sbu(sample: Sample, _: CaptionSource) -> bool:
    """An object with a list of URLs, or one too large for a line that begins with a field of SBU's."""
    item = sample.first_object
    if item is not None:
        return isinstance(item.get("image_urls"), list)
    return sample.kind == "json object" and sample.first_field in FIELDS


FORMAT = Format(
    name="sbu",
    layout="JSON object of parallel lists `image_urls`, `captions`",
    read=read_sbu,
    detect=_is_sbu,
)
