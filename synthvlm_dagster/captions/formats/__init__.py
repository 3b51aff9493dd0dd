"""The layouts caption files come in, each with the function that reads it."""

from synthvlm_dagster.captions.formats.base import FormatError, Frames, Reader
from synthvlm_dagster.captions.formats.detect import detect_format
from synthvlm_dagster.captions.formats.first_bytes import read_head, require_text
from synthvlm_dagster.captions.formats.huggingface import read_huggingface
from synthvlm_dagster.captions.formats.json_lists import read_coco, read_llava, read_sbu, read_synthvlm
from synthvlm_dagster.captions.formats.lines import read_jsonl, read_txt
from synthvlm_dagster.captions.formats.parquet import parquet_reader, read_parquet
from synthvlm_dagster.captions.formats.tables import read_cc3m, read_cc12m, read_csv, read_partiprompts, read_tsv
from synthvlm_dagster.captions.formats.web_tables import WEB_TABLES
from synthvlm_dagster.captions.formats.webdataset import read_webdataset

__all__ = ["READERS", "FormatError", "Frames", "Reader", "detect_format", "read_head", "require_text"]

READERS: dict[str, Reader] = {
    "llava": read_llava,
    "synthvlm": read_synthvlm,
    "coco": read_coco,
    "sbu": read_sbu,
    "partiprompts": read_partiprompts,
    "cc3m": read_cc3m,
    "cc12m": read_cc12m,
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "txt": read_txt,
    "parquet": read_parquet,
    **{layout: parquet_reader(table) for layout, table in WEB_TABLES.items()},
    "huggingface": read_huggingface,
    "webdataset": read_webdataset,
}
"""Format, as a recipe names it → reader."""
