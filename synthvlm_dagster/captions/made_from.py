"""What the recipe would make the captions' tables from, today."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthvlm_dagster.captions.tables import RAW
from synthvlm_dagster.contents import content_of
from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.recipe import CaptionSource, Recipe
from synthvlm_dagster.recipe.plain import HOW_IT_IS_COMPUTED, named, plain_settings
from synthvlm_dagster.recipe.rules import RULE_SETTINGS
from synthvlm_dagster.store.made_from import MadeFrom

if TYPE_CHECKING:
    import polars as pl

    from synthvlm_dagster.captions.files import SourceFile
    from synthvlm_dagster.store.storage import Storage

RAW_CODE = 3
CURATION_CODE = 3

IMAGE_FOLDERS = "image_folders"
"""Setting of the raw captions' record: where the images of a source are, by the source's name."""

_LARGE = 256 << 20
"""Bytes of a caption file from which on its size and times of change stand for what it holds."""


def raw_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's part that shapes the captions as found, but for what its files hold."""
    return {"sources": [plain_settings(source) for source in recipe.sources]}


def curation_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's part that shapes the curated and the rejected captions, but for what its files and models hold."""
    return {"curation": plain_settings(recipe.curation, HOW_IT_IS_COMPUTED), "shards": recipe.shards}


def raw_captions_made_from(recipe: Recipe) -> MadeFrom:
    """What the captions as found are made from: the sources' settings and what their files hold.

    Where the files are changes nothing, unless they name images by relative paths; see `with_image_folders`.

    Raises:
        CaptionSourceError: a source's files are not there.
    """
    return MadeFrom(
        code=RAW_CODE,
        settings=raw_settings(recipe),
        contents={f"sources.{source.name}": source_content(source) for source in recipe.sources},
    )


def raw_captions_made_from_today(recipe: Recipe, storage: Storage) -> MadeFrom:
    """The same, with image folders for the sources for which the table that stands names them.

    Raises:
        CaptionSourceError: a source's files are not there.
        StorageError: the table is damaged.
    """
    standing = storage.table_made_from(RAW)
    named_before = standing.settings.get(IMAGE_FOLDERS, {}) if standing else {}
    folders = {source.name: image_folder(source) for source in recipe.sources if source.name in named_before}
    return with_image_folders(raw_captions_made_from(recipe), folders)


def with_image_folders(record: MadeFrom, folders: dict[str, str]) -> MadeFrom:
    """The record of captions that hold the places of images.

    Args:
        record: of the captions as found.
        folders: where images are whose paths in the files are relative, by name of the source.
    """
    settings = record.settings | ({IMAGE_FOLDERS: folders} if folders else {})
    return record.model_copy(update={"settings": settings})


class RawOrigin:
    """What the captions as found are made from, where it is told while they are read.

    Args:
        recipe: names the sources, whose files are looked at now.

    Raises:
        CaptionSourceError: a source's files are not there.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._record = raw_captions_made_from(recipe)
        self._folders = {source.name: image_folder(source) for source in recipe.sources}
        self._named: set[str] = set()

    def saw(self, rows: pl.DataFrame) -> None:
        """Take note of rows that name images by relative paths: the table holds the places of these."""
        import polars as pl

        uris = rows.lazy().filter(pl.col("image_uri").is_not_null())
        for name, folder in self._folders.items():
            if name not in self._named:
                below = pl.col("image_uri").str.starts_with(folder)
                found = uris.filter(pl.col("source") == name, below).head(1).collect()
                self._named |= {name} if found.height else set()

    def record(self) -> MadeFrom:
        """The record, when all rows have been seen."""
        folders = {name: folder for name, folder in self._folders.items() if name in self._named}
        return with_image_folders(self._record, folders)


def curation_made_from(recipe: Recipe, storage: Storage, one_run: dict[str, Any] | None = None) -> MadeFrom:
    """What the curated and the rejected captions are made from.

    Args:
        recipe: names rules, word list and models.
        storage: holds the captions as found.
        one_run: settings that the recipe has for one run alone.

    Raises:
        RecipeError: the list of flagged words cannot be read.
        ModelError: a rule's model is written as a path, and nothing is there.
    """
    return MadeFrom(
        code=CURATION_CODE,
        settings=curation_settings(recipe),
        inputs={"raw_captions": storage.version(RAW)},
        contents={
            field: _words_identity(value) if field == "curation.flagged_words" else _model_identity(value, revision)
            for field, value, revision in named(recipe.curation, "curation", HOW_IT_IS_COMPUTED)
        }
        | _original_images(recipe, storage),
        one_run=one_run or {},
    )


def _original_images(recipe: Recipe, storage: Storage) -> dict[str, str]:
    """What is known of the images that rules look at; empty where none does."""
    looking = (name for name, rule in RULE_SETTINGS.items() if "original image" in rule.needs)
    if not any(recipe.curation.rules[name] for name in looking) or not storage.has_table(RAW):
        return {}
    from synthvlm_dagster.captions.picture_files import digest_of_pictures, picture_states

    uris = storage.scan(RAW).select("image_uri").drop_nulls().unique().collect()["image_uri"]
    return {"sources.images": f"images#{digest_of_pictures(uris, picture_states(uris))}"}


def source_version(sources: Sequence[CaptionSource]) -> str:
    """Fingerprint of the sources' settings and of what their files hold, wherever they stand.

    Raises:
        CaptionSourceError: a source's files are not there.
        ModelError: a file cannot be read.
    """
    return fingerprint([(plain_settings(source), source_content(source)) for source in sources])


def source_content(source: CaptionSource) -> str:
    """What the files of a source hold: the name of the first, `#`, and a digest of the names and contents of all.

    Of files that are not on this machine, and of large ones, size and etag or time of change stand for the content.

    Raises:
        CaptionSourceError: the source's files are not there.
        ModelError: a file cannot be read.
    """
    from synthvlm_dagster.captions.files import find_files

    files = find_files(source)
    return f"{posixpath.basename(files[0].name)}#{fingerprint([(file.name, _file_content(file)) for file in files])}"


def image_folder(source: CaptionSource) -> str:
    """Where the relative paths of a source's images start.

    Raises:
        CaptionSourceError: the source's files are not there.
    """
    from synthvlm_dagster.captions.files import find_files

    if source.image_root:
        return source.image_root.rstrip("/")
    return posixpath.commonprefix([file.siblings[0] for file in find_files(source)])


def _file_content(file: SourceFile) -> str:
    if not file.is_local:
        return file.change_mark
    found = Path(file.path).stat()
    if found.st_size >= _LARGE:
        return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
    return content_of(Path(file.path))


def _words_identity(location: str) -> str:
    from synthvlm_dagster.captions.flagged_words import read_flagged_words

    name = posixpath.basename(location)
    if Path(location).is_file():
        return f"{name}#{content_of(Path(location))}"
    # A list on a server is small, and few servers tell when theirs has changed.
    return f"{name}#{fingerprint(sorted(read_flagged_words(location)))}"


def _model_identity(value: str, revision: str | None) -> str:
    # What a URL names is fetched once.
    return value if "://" in value else model_identity(value, revision)
