"""How much time and memory it takes to read, judge and part millions of captions, into the tables of a store.

    python benchmarks/whole_curation.py --captions 10000000

The captions stand in one text file: those of `--source` (without it: the 25,014 COCO captions of ../shared), again and
again, each round with its number at the end, so that no two are the same. Rules are the defaults of a recipe.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from synthvlm_dagster.captions.curate import Curator
from synthvlm_dagster.captions.readers import RAW_SCHEMA, read_captions
from synthvlm_dagster.captions.tables import CURATED, RAW, REJECTED
from synthvlm_dagster.recipe import CaptionSource, Curation, Duplicates
from synthvlm_dagster.store.storage import Storage

COCO = Path(__file__).resolve().parents[2] / "shared" / "data" / "captions" / "coco_captions_val2017.json.gz"


def main() -> None:
    """Write the captions, read them into a store, curate them, and print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=10_000_000)
    parser.add_argument("--source", default=str(COCO), help="a file of captions in any format")
    parser.add_argument("--near", action="store_true", help="find near duplicates too")
    options = parser.parse_args()
    duplicates = Duplicates(method="near" if options.near else "exact")
    curation = Curation.model_validate({"rules": {"duplicates": duplicates.model_dump()}})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "captions.txt"
        write_captions(file, options.source, options.captions)
        storage = Storage(f"{folder}/store")
        measured("read", lambda: read(storage, file))
        measured("curate", lambda: curate(storage, curation))


def write_captions(file: Path, source: str, count: int) -> None:
    """`count` captions, one a line."""
    parts = read_captions([CaptionSource(name="source", path=source)])
    texts = [text.replace("\n", " ") for part in parts for text in part["text"].drop_nulls()]
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            lines.write(f"{texts[number % len(texts)]} {number // len(texts)}\n")


def read(storage: Storage, file: Path) -> str:
    """Read the captions into the raw table."""
    with storage.table_writer(RAW, RAW_SCHEMA) as write:
        for part in read_captions([CaptionSource(name="lines", path=str(file))]):
            write(part)
    return ""


def curate(storage: Storage, curation: Curation) -> str:
    """Part the raw table into the curated and the rejected."""
    curator = Curator(curation, [f"{number:04d}" for number in range(512)])
    schema = pl.Schema([*RAW_SCHEMA.items(), *curator.schema.items()])
    kept = 0
    with (
        storage.table_writer(CURATED, schema) as write_curated,
        storage.table_writer(REJECTED, pl.Schema([*schema.items(), ("rejected_by", pl.String())])) as write_rejected,
    ):
        for curated, rejected in curator.split(storage.batches(RAW)):
            write_curated(curated)
            write_rejected(rejected)
            kept += curated.height
    return f"{kept:,} of {curator.rows:,} kept"


def measured(step: str, work: Callable[[], str]) -> None:
    """Run a step and print its time and the process's peak memory so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{step:<8}{time.process_time() - cpu:8.1f} CPU-s {time.perf_counter() - wall:8.1f} s wall "
        f"{peak:8,.0f} MB peak  {result}",
        flush=True,
    )


if __name__ == "__main__":
    main()
