"""A part of the recipe as two things: its plain settings, and the files and models that it names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple, get_args

from synthvlm_dagster.recipe.section import LocationMark, Section

HOW_IT_IS_COMPUTED = (
    "batch_size",
    "device",
    "base_url",
    "api_key_variable",
    "concurrency",
    "requests_per_minute",
    "max_retries",
    "timeout_seconds",
    "price_per_million_input_tokens",
    "price_per_million_output_tokens",
)
"""Settings, at any depth, that say how fast, where and at what price something is measured, not what comes out."""

_REVISION = "revision"


class Named(NamedTuple):
    """A file, folder or model that the recipe names."""

    field: str
    """Its place in the recipe, such as `curation.rules.perplexity.kenlm.model`."""
    value: str
    revision: str | None
    """Of a model on a hub."""


def plain_settings(section: Section, without: Collection[str] = ()) -> dict[str, Any]:
    """The settings of a section as JSON values, without those that `named` gives, at any depth.

    Args:
        section: of the recipe.
        without: names of fields that are left out, at any depth.
    """
    settings: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name in without or name == _REVISION or (_names(section, name) and value is not None):
            continue
        if isinstance(value, Section):
            settings[name] = plain_settings(value, without)
        elif isinstance(value, tuple) and any(isinstance(each, Section) for each in value):
            settings[name] = [plain_settings(each, without) for each in value]
        else:
            settings[name] = section.model_dump(mode="json", include={name})[name]
    return settings


def named(section: Section, place: str, without: Collection[str] = ()) -> Iterator[Named]:
    """The files, folders and models that a section names, at any depth.

    Args:
        section: of the recipe.
        place: of the section in the recipe, such as `curation`.
        without: names of fields that are left out, at any depth.
    """
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name in without:
            continue
        if isinstance(value, Section):
            yield from named(value, f"{place}.{name}", without)
        elif isinstance(value, tuple):
            for number, each in enumerate(value):
                if isinstance(each, Section):
                    yield from named(each, f"{place}.{name}.{getattr(each, 'name', number)}", without)
        elif isinstance(value, str) and _names(section, name):
            yield Named(f"{place}.{name}", value, getattr(section, _REVISION, None))


def without_folders(settings: Any) -> Any:
    """Plain settings in which a local path has given place to its last name: where a model lies changes nothing.

    Nor does the revision of one on this machine; on a hub, none is `main`.
    """
    if isinstance(settings, dict):
        plain = {name: without_folders(value) for name, value in settings.items() if name != _REVISION}
        model = settings.get("model")
        if _REVISION in settings and not (isinstance(model, str) and PurePath(model).is_absolute()):
            plain[_REVISION] = settings[_REVISION] or "main"
        return plain
    if isinstance(settings, list):
        return [without_folders(value) for value in settings]
    if isinstance(settings, str) and PurePath(settings).is_absolute():
        return PurePath(settings).name
    return settings


def _names(section: Section, field: str) -> bool:
    """Whether a field holds a path, a URL or a model's name."""
    info = type(section).model_fields[field]
    # Pydantic lifts the marks of `Location` to the field, but leaves those of `Location | None` in the annotation.
    inner = [mark for part in get_args(info.annotation) for mark in getattr(part, "__metadata__", ())]
    return any(isinstance(mark, LocationMark) for mark in [*info.metadata, *inner])
