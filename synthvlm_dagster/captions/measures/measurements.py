"""Statistics that cost too much to be measured twice: each value is kept in the store the moment it is known."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

import polars as pl

from synthvlm_dagster.captions.picture_files import picture_states
from synthvlm_dagster.store.storage import Storage

MEASUREMENTS = "captions/measurements"
"""Folder of one table for each measure and identity: key, value and the measure's extras."""

VALUES_SCHEMA = pl.Schema({"key": pl.String(), "value": pl.Float64(), "problem": pl.String()})
"""Columns of the frames that a measure yields, before its extras."""

# A judge's answers come in one by one; so many files are put together into one.
_MOST_CHUNKS = 256


class Measure(Protocol):
    """A costly statistic of captions, or of captions with their original images."""

    name: str
    """The statistic's column."""

    identity: str
    """Fingerprint of everything that changes the values: model, question, precision."""

    looks_at_images: bool
    """Whether values depend on the original images: then the same text with another image is measured anew."""

    extras: pl.Schema
    """Further numeric columns of the frames that `measure` yields, e.g. the tokens that an answer cost."""

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """Measure captions, a part at a time.

        Args:
            captions: key (String, unique), text (String) and image_uri (String, may be null).
            on_progress: called every few seconds with done, total and rate.

        Yields:
            Frames, in any order, with key, value (Float64, null when it cannot be measured), problem (String, why
            value is null) and `extras`: each as soon as it is known.

        Raises:
            SynthVLMError: nothing can be measured at all, because the model cannot be loaded or reached.
        """
        ...


class MeasurementStore:
    """The values of one measure: those in the store, and those measured now, each stored before the next is taken.

    Attributes:
        measured: how many values were measured by this object.
        reused: how many values were asked for and found in the store.
        problems: why values could not be measured, with their numbers; such captions are tried again in the next run.
        spent: sums of the measure's extras over all that was asked by this object, what gave no value included.
    """

    def __init__(self, storage: Storage, measure: Measure) -> None:
        self.measure = measure
        self.measured = 0
        self.reused = 0
        self.problems: Counter[str] = Counter()
        self.spent = dict.fromkeys(measure.extras, 0)
        self._storage = storage
        self._table = f"{MEASUREMENTS}/{measure.name}-{measure.identity}"
        self._schema = pl.Schema([("key", pl.String()), ("value", pl.Float64()), *measure.extras.items()])
        self._values = self._stored().select("key", "value")

    def values(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> pl.Series:
        """Values of captions, measured where the store has none.

        Args:
            captions: text (String, not null) and image_uri (String, may be null).
            on_progress: see `Measure.measure`.

        Returns:
            Float64, one per caption; null where it could not be measured.

        Raises:
            SynthVLMError: the measure cannot work at all; what it measured until then is stored.
        """
        keyed = captions.select("text", "image_uri").with_columns(key=self._keys(captions))
        distinct = keyed.unique("key", keep="first", maintain_order=True)
        # A join with all values would cost the more the more of them there are, for each part of the captions.
        known = self._values.filter(pl.col("key").is_in(distinct["key"].implode()))
        missing = distinct.join(known, on="key", how="anti", maintain_order="left")
        self.reused += distinct.height - missing.height
        if missing.height:
            asked = missing.select("key", "text", "image_uri")
            fresh = [self._keep(part) for part in self.measure.measure(asked, on_progress)]
            self._values = pl.concat([self._values, *fresh], rechunk=True)
            known = pl.concat([known, *fresh])
        joined = keyed.join(known, on="key", how="left", maintain_order="left")
        return joined["value"].alias(self.measure.name)

    def spent_so_far(self) -> dict[str, int]:
        """Sums of the measure's extras over all values in the store, whichever run measured them."""
        paths = self._storage.files(self._table, ".parquet")
        if not paths:
            return dict.fromkeys(self.measure.extras, 0)
        columns = ["key", *self.measure.extras]
        stored = self._storage.scan_files(paths).select(columns).collect().unique("key")
        return {extra: int(stored[extra].sum()) for extra in self.measure.extras}

    def _keys(self, captions: pl.DataFrame) -> pl.Series:
        if not self.measure.looks_at_images:
            return measurement_keys(captions["text"])
        uris = captions["image_uri"]
        return measurement_keys(captions["text"], uris.fill_null("") + "\0" + picture_states(uris))

    def _keep(self, part: pl.DataFrame) -> pl.DataFrame:
        """Store what could be measured, count what could not."""
        is_known = pl.col("value").is_not_null()
        known = part.filter(is_known).select(pl.col(name).cast(dtype) for name, dtype in self._schema.items())
        self.problems.update(part.filter(~is_known)["problem"].fill_null("no reason given").to_list())
        self.spent = {extra: total + int(part[extra].sum()) for extra, total in self.spent.items()}
        if not known.is_empty():
            self._write(known)
            self.measured += known.height
            self._chunks += 1
            if self._chunks > _MOST_CHUNKS:
                self._stored()
        return known.select("key", "value")

    def _stored(self) -> pl.DataFrame:
        """What the store holds; many small files become one."""
        paths = self._storage.files(self._table, ".parquet")
        self._chunks = len(paths)
        if not paths:
            return pl.DataFrame(schema=self._schema)
        stored = self._storage.scan_files(paths).collect().unique("key", keep="first", maintain_order=True)
        if len(paths) > 1:
            merged = self._write(stored)
            for path in paths:
                if path != merged:
                    self._storage.delete(path)
            self._chunks = 1
        return stored

    def _write(self, rows: pl.DataFrame) -> str:
        content = hashlib.blake2b("\0".join(rows["key"]).encode(), digest_size=8).hexdigest()
        name = f"chunk-{content}.parquet"
        self._storage.write_chunk(self._table, name, rows)
        return f"{self._table}/{name}"


def measurement_keys(texts: pl.Series, images: pl.Series | None = None) -> pl.Series:
    """What values are kept under: 16 hexadecimal digits of each text, and of its image where that matters.

    Args:
        texts: String, without nulls.
        images: String, what tells the images apart; null for a caption without; None: images do not matter.
    """
    uris = pl.repeat("", texts.len(), eager=True) if images is None else images.fill_null("")
    pairs = zip(texts, uris, strict=True)
    keys = [hashlib.blake2b(f"{text}\0{uri}".encode(), digest_size=8).hexdigest() for text, uri in pairs]
    return pl.Series("key", keys, dtype=pl.String)
