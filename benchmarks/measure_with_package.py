"""Measure captions with this package; prints the cost as JSON. Started by curation.py."""

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import polars as pl

from synthvlm_dagster.captions.text_statistics import measure_captions

work = Path(sys.argv[1])
settings = json.loads((work / "settings.json").read_text(encoding="utf-8"))
texts = pl.read_parquet(work / "captions.parquet")["text"]
before = time.process_time()
measure_captions(texts.head(1), settings["template"], flagged_words=settings["flagged_words"])

start, start_wall = time.process_time(), time.perf_counter()
measured = measure_captions(texts, settings["template"], flagged_words=settings["flagged_words"])
cost = {
    "name": f"synthvlm_dagster {version('synthvlm_dagster')}",
    "captions": measured.height,
    "cpu_seconds": time.process_time() - start,
    "wall_seconds": time.perf_counter() - start_wall,
    "start_seconds": start - before,
    # Linux counts in KiB.
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}
measured.write_parquet(work / "measure_with_package.parquet")
print(json.dumps(cost))
