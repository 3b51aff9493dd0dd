"""Where the published tables of web captions keep what a caption row needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from synthvlm_dagster.captions.formats.base import require_columns
from synthvlm_dagster.recipe import CaptionSource, SourceColumns


@dataclass(frozen=True)
class WebTable:
    """One published layout."""

    columns: SourceColumns
    """What a source that names no columns reads; a file may lack all of them but the text."""

    marks: frozenset[str] = frozenset()
    """Column names that together tell the layout from every other."""

    candidates: str | None = None
    """A column of lists that hold the text among other captions, parallel to the list of similarities."""


PLAIN = WebTable(SourceColumns())
"""A table of no published layout."""

COYO = WebTable(
    SourceColumns(
        text="text",
        image="url",
        clip_similarity="clip_similarity_vitb32",
        watermark_score="watermark_score",
        nsfw_score="nsfw_score_opennsfw2",
    ),
    frozenset({"text", "url", "clip_similarity_vitb32"}),
)
"""COYO-700M (https://huggingface.co/datasets/kakaobrain/coyo-700m)."""

LAION = WebTable(
    SourceColumns(
        text="TEXT",
        image="URL",
        clip_similarity="similarity",
        watermark_score="pwatermark",
        nsfw_score="punsafe",
    ),
    frozenset({"TEXT", "URL"}),
)
"""LAION-400M and LAION-5B's parts; the first releases tell unsafe images by a word, NSFW, which is no score."""

LAION_COCO = WebTable(
    LAION.columns.model_copy(update={"text": "top_caption", "clip_similarity": "all_similarities"}),
    frozenset({"URL", "top_caption", "all_captions"}),
    candidates="all_captions",
)
"""LAION-COCO: captions that models wrote, the best of them in `top_caption`, beside the web's own in `TEXT`."""

DATACOMP = WebTable(
    SourceColumns(text="text", image="url", clip_similarity="clip_b32_similarity_score"),
    frozenset({"uid", "text", "url", "clip_b32_similarity_score"}),
)
"""DataComp's CommonPool and DataComp-1B (https://huggingface.co/datasets/mlfoundations/datacomp_1b)."""

WEB_TABLES = {"laion-coco": LAION_COCO, "datacomp": DATACOMP, "coyo": COYO, "laion": LAION}
"""Format, as a recipe names it → layout, the more particular ones first."""


def detect_web_table(names: Collection[str]) -> str | None:
    """The format whose columns are all among the names of a table; None for a table of no published layout."""
    return next((layout for layout, table in WEB_TABLES.items() if table.marks.issubset(names)), None)


@dataclass(frozen=True)
class Selection:
    """What to read from one table."""

    columns: SourceColumns
    candidates: str | None

    @property
    def names(self) -> list[str]:
        """The columns that are needed, each once."""
        return sorted({*self.columns.model_dump(exclude_none=True).values(), *filter(None, [self.candidates])})


def select_columns(table: WebTable | None, source: CaptionSource, names: Sequence[str]) -> Selection:
    """The columns to read from a table with these names: those that the source names, else the layout's if present.

    Args:
        table: the layout; None for the one that the names tell.
        source: its `columns` come first, each for itself.
        names: all columns of the file.

    Raises:
        FormatError: the text column, or one that the source names, is not there.
    """
    table = table or WEB_TABLES.get(detect_web_table(names) or "", PLAIN)
    given = source.columns.model_dump(exclude_unset=True) if source.columns else {}
    defaults = table.columns
    if table is LAION_COCO and given.get("text") == LAION.columns.text:
        defaults = LAION.columns
    optional = defaults.model_dump(exclude={"text"})
    absent = {setting: None for setting, name in optional.items() if name not in names}
    columns = defaults.model_copy(update=absent | given)
    require_columns(columns, names)
    has_candidates = columns.text == table.columns.text and table.candidates in names
    return Selection(columns, table.candidates if has_candidates else None)
