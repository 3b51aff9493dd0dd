"""What a table or folder was made from: the record that it carries, and how two of them differ, in words.

A table kept in one file carries its record in the file's own footer, a folder (an export, the card, the report) in
`.made_from.json` beside its files. The one cannot stand without the other: they are replaced together. A table is up to
date when its record equals the one that the recipe and today's inputs would give it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

FOLDERS_RECORD = ".made_from.json"
TABLES_RECORD = "synthvlm_dagster.made_from"
"""The note in a parquet file's footer that holds the record."""

_DIGEST_BYTES = 8
_MOST_NAMED = 4


class MadeFrom(BaseModel):
    """What shaped a table or folder, and the version of what came out.

    All values are what JSON can hold, so that a record which has been written and read is equal to itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: int
    """Version of the code that makes it."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The part of the recipe that shapes it, as it was in effect, sections within sections."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Version of every table, or of every set of shards, that it was made of, by name."""
    contents: dict[str, str] = Field(default_factory=dict)
    """What the files and model folders that the recipe names held, by the recipe's field."""
    generator: str | None = None
    """Name of what made the images, where it is made of images."""
    scorer: str | None = None
    """Name of what measured them, where it is made of scores."""
    one_run: dict[str, Any] = Field(default_factory=dict)
    """Those of the settings that were set for one run alone and stood otherwise in the recipe; explains, decides
    nothing."""
    version: str = ""
    """Digest of the rows of the table, or of the folder's files by name; empty until it is written."""
    seen: str = ""
    """Of a folder: digest of the names, sizes and times of change of its files. While it is the same, nothing was done
    to them, and they need not be read to know it; explains nothing."""

    @field_validator("settings", "one_run", mode="before")
    @classmethod
    def _as_json_gives_it_back(cls, value: Any) -> Any:
        return json.loads(json.dumps(value))

    @classmethod
    def parse(cls, text: str | bytes) -> MadeFrom | None:
        """The record that a text holds; None where it holds none, as another program may have written it."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def to_bytes(self) -> bytes:
        """The record as the content of a file."""
        return f"{self.model_dump_json(indent=1)}\n".encode()

    def written(self, version: str, seen: str = "") -> MadeFrom:
        """The same record, of what came out as `version`."""
        return self.model_copy(update={"version": version, "seen": seen})

    def differences(self, expected: MadeFrom) -> list[str]:
        """What shaped this otherwise than it would be shaped now, one short sentence each; empty when nothing did.

        Args:
            expected: the record that it would get now; its version and `one_run` are not looked at.
        """
        found = [
            *_changed_settings(self.settings, expected.settings),
            *_changed_contents(self.contents, expected.contents),
            *(
                f"the {name} is {now}, was {then}"
                for name in ("generator", "scorer")
                if (then := getattr(self, name)) != (now := getattr(expected, name))
            ),
            *(
                f"{name} has changed"
                for name in sorted(self.inputs.keys() | expected.inputs.keys())
                if self.inputs.get(name) != expected.inputs.get(name)
            ),
            *(["the code that makes it has changed"] if self.code != expected.code else []),
        ]
        # A source is new by its settings and by its files.
        return list(dict.fromkeys(found))


def in_words(differences: list[str]) -> str:
    """The first few of `MadeFrom.differences`, and how many more there are."""
    more = len(differences) - _MOST_NAMED
    return "; ".join(differences[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def digest_of_files(known: Mapping[str, str]) -> str:
    """Digest of a folder, of what is known of its files by path below it; its record does not count."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name, of_file in sorted(known.items()):
        if name != FOLDERS_RECORD:
            digest.update(f"{name}\0{of_file}\0".encode())
    return digest.hexdigest()


def _changed_settings(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each setting that differs, by its place in the recipe."""
    then, now = _by_name(then), _by_name(now)
    if isinstance(then, dict) and isinstance(now, dict):
        if list(then) != list(now) and then.keys() == now.keys() and name and _are_sections(then):
            yield f"the order of {name} has changed"
        for key in dict.fromkeys([*now, *then]):
            yield from _changed_settings(then.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    elif then != now:
        if isinstance(now, dict):
            yield f"{name} is new"
        elif isinstance(then, dict):
            yield f"{name} is gone"
        else:
            yield f"{name} is {_shown(now)}, was {_shown(then)}"


def _by_name(value: Any) -> Any:
    """A list of sections that have names, such as sources, by their names."""
    if isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
        return {each["name"]: {key: inner for key, inner in each.items() if key != "name"} for each in value}
    return value


def _are_sections(value: dict[str, Any]) -> bool:
    return all(isinstance(inner, dict) for inner in value.values())


def _changed_contents(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for field in sorted(then.keys() | now.keys()):
        if then.get(field) != now.get(field):
            if field in then and field in now:
                file = now[field].partition("#")[0]
                yield f"{field} ({file}) has changed"
            else:
                yield f"{field} is {'new' if field in now else 'gone'}"


def _shown(value: Any) -> str:
    is_plain = isinstance(value, str) and value and value == value.strip() and value.isprintable()
    return value if is_plain else json.dumps(value, ensure_ascii=False)
