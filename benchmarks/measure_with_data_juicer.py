"""Measure captions with Data-Juicer, in its own environment; prints the cost as JSON. Started by curation.py."""

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from data_juicer.ops.filter.alphanumeric_filter import AlphanumericFilter
from data_juicer.ops.filter.character_repetition_filter import CharacterRepetitionFilter
from data_juicer.ops.filter.flagged_words_filter import FlaggedWordFilter
from data_juicer.ops.filter.special_characters_filter import SpecialCharactersFilter
from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
from data_juicer.utils.constant import Fields

NGRAM = 10


def cpu_seconds() -> float:
    """User and system time of this process, all threads, and of the processes it has started and ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


work = Path(sys.argv[1])
settings = json.loads((work / "settings.json").read_text(encoding="utf-8"))
texts = pq.read_table(work / "captions.parquet")["text"].to_pylist()
bounds = {
    rule: {f"{end}_ratio": value for end, value in ends.items() if value is not None}
    for rule, ends in settings["bounds"].items()
}
operators = {
    "alnum_ratio": AlphanumericFilter(**bounds["alnum_ratio"]),
    "special_char_ratio": SpecialCharactersFilter(**bounds["special_char_ratio"]),
    "char_rep_ratio": CharacterRepetitionFilter(rep_len=NGRAM, **bounds["char_rep_ratio"]),
    "word_rep_ratio": WordRepetitionFilter(rep_len=NGRAM, **bounds["word_rep_ratio"]),
    "flagged_words_ratio": FlaggedWordFilter(
        flagged_words_dir=settings["flagged_words_folder"], **bounds["flagged_words_ratio"]
    ),
}
batches = [
    {"text": texts[first : first + settings["batch_size"]]} for first in range(0, len(texts), settings["batch_size"])
]
for batch in batches:
    batch[Fields.stats] = [{} for _ in batch["text"]]

start, start_wall = cpu_seconds(), time.perf_counter()
for batch in batches:
    for operator in operators.values():
        operator.compute_stats_batched(batch)
cost = {
    "name": f"py-data-juicer {version('py-data-juicer')}",
    "captions": len(texts),
    "cpu_seconds": cpu_seconds() - start,
    "wall_seconds": time.perf_counter() - start_wall,
    "start_seconds": start,
    # Linux counts in KiB.
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}
measured = {rule: [stats[rule] for batch in batches for stats in batch[Fields.stats]] for rule in operators}
for rule, operator in operators.items():
    measured[f"{rule}_keep"] = [bool(keep) for batch in batches for keep in operator.process_batched(batch)]
pq.write_table(pa.table(measured), work / "measure_with_data_juicer.parquet")
print(json.dumps(cost))
