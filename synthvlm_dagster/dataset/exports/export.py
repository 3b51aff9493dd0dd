"""What an export is: selected pairs written out in the layout that some training code reads.

Each export is a module of this folder with an `EXPORT`. Its settings are the field of the recipe's section `exports`
with its name; null there switches it off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from synthvlm_dagster.recipe import Recipe

if TYPE_CHECKING:
    from synthvlm_dagster.store.storage import Storage

OnProgress: TypeAlias = Callable[[str], None]
_NAMED = 10


def say_nothing(_: str) -> None:
    """For progress that nobody wants to hear of."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        pairs: number of selected pairs.
        bytes: size of all files.
        sample: one pair as it was written, without its image; None when nothing was selected.
        columns: type and description of each column, field or file of a pair.
        counts: other numbers worth to be shown, such as `tar_files`.
    """

    pairs: int
    bytes: int
    sample: dict[str, Any] | None
    columns: Mapping[str, tuple[str, str]]
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """How an export differs from the selected pairs; every field is sorted, and empty when all is well.

    Attributes:
        missing: what belongs to a selected pair and is not there.
        unexpected: what belongs to no selected pair, or is there twice.
        malformed: what the code that reads the export would stumble over.
        unreadable: files and pictures that cannot be read to their end, or that nothing refers to.
        misdescribed: what the export says of itself that its files do not hold.
        wrong_facts: captions, scores and other facts that are not those of their pair, and what they should be.
        wrong_pictures: pictures that are not those of their pair, and why.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    misdescribed: list[str] = field(default_factory=list)
    wrong_facts: list[str] = field(default_factory=list)
    wrong_pictures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the export holds exactly the selected pairs, each with its own facts and picture."""
        return not any(vars(self).values())

    @property
    def in_words(self) -> str:
        """What differs, the first of each kind by name; empty when all is well."""
        listed = [
            f"{len(found)} {kind.replace('_', ' ')}: {', '.join(found[:_NAMED])}"
            for kind, found in vars(self).items()
            if found
        ]
        return "; ".join(listed)


@dataclass(frozen=True, kw_only=True)
class Export:
    """One layout that the selected pairs are written out in.

    Attributes:
        name: the field of the recipe's `exports`, and the folder below `dataset/`.
        asset: what Dagster calls it.
        label: what the terminal calls it.
        description: what it is, and what one of its rows is.
        checked: what its check makes sure of.
        kinds: of files, as Dagster shows them.
        made_of: the assets that it is written from.
        code: version of the code that writes it; another number, and it is written again.
        settings: what of the recipe shapes it, as plain JSON values, sections within sections.
        write: replaces the export by the pairs that are selected now; tells its progress in lines.
        verify: compares the export with the selected pairs and the store's pictures; tells its progress in lines.
    """

    name: str
    asset: str
    label: str
    description: str
    checked: str
    kinds: frozenset[str]
    made_of: tuple[str, ...] = ("selected_pairs",)
    code: int = 1
    settings: Callable[[Recipe], dict[str, Any]]
    write: Callable[[Recipe, Storage, OnProgress], Written]
    verify: Callable[[Recipe, Storage, OnProgress], Verdict]

    @property
    def folder(self) -> str:
        """Where it stands in the store."""
        return f"dataset/{self.name}"

    @property
    def check(self) -> str:
        """Name of the check that compares it with the selected pairs."""
        return f"{self.name}_holds_the_selected_pairs"

    def wanted(self, recipe: Recipe) -> bool:
        """Whether the recipe wants it."""
        return getattr(recipe.exports, self.name) is not None


def export_settings(recipe: Recipe, *names: str) -> dict[str, Any]:
    """Some fields of the recipe's section `exports`, as plain JSON values in their place."""
    return {"exports": recipe.exports.model_dump(mode="json", include=set(names))}
