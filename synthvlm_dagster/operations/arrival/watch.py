"""When caption files that are new or have changed are whole, and so may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from synthvlm_dagster.captions.files import find_files
from synthvlm_dagster.captions.readers import file_format
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.recipe import CaptionSource

_LOOKS = 2
_NAMED = 5


class Watch(BaseModel):
    """What earlier looks have found: the sensor's cursor, small however many files there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    handled: str = ""
    """Fingerprint of the files for which a run was launched, or that had been read before; empty: none were."""
    latest: str = ""
    """Fingerprint of the files at the last look."""
    since: float = 0.0
    """Time of the first look that found them so, in seconds since 1970."""
    looks: int = 0
    """How many looks, one after the other, found them so."""
    launches: int = 0
    """How many runs have been launched. Part of a run's key: files that are again what they were once are read again,
    but a run whose launch was not noted, because the daemon was killed, is not launched twice."""

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Watch:
        """What the cursor says; of none, or of one that is not this sensor's, a watch that has seen nothing."""
        try:
            return cls.model_validate_json(cursor or "{}")
        except ValidationError:
            return cls()

    def after_look(self, files: str, now: float) -> Watch:
        """The watch after a look that found files of this fingerprint."""
        if files != self.latest or now < self.since:
            return self.model_copy(update={"latest": files, "since": now, "looks": 1})
        return self.model_copy(update={"looks": self.looks + 1})

    def seconds_to_settle(self, now: float, settle_seconds: float) -> float | None:
        """How long the files must still stay as they are, at least; None when they are whole."""
        remaining = settle_seconds - (now - self.since)
        return None if remaining <= 0 and self.looks >= _LOOKS else max(0.0, remaining)

    def after_launch(self) -> Watch:
        """The watch after a run was launched for the latest files."""
        return self.model_copy(update={"handled": self.latest, "launches": self.launches + 1})

    def next_run_key(self) -> str:
        """Names the run for the latest files: equal as long as no launch has been noted."""
        return f"{self.latest}-{self.launches}"

    def last_run_key(self) -> str:
        """Names the run of the last launch that was noted."""
        return f"{self.handled}-{self.launches - 1}"


class Changes(NamedTuple):
    """How the files differ from those of earlier; each sorted."""

    new: list[str]
    changed: list[str]
    gone: list[str]

    def in_words(self) -> str:
        """For example `new: shop: b.csv; gone: shop: a.csv`."""
        parts = [f"{kind}: {_listed(names)}" for kind, names in self._asdict().items() if names]
        return "; ".join(parts)


def compare_files(before: Mapping[str, str], now: Mapping[str, str]) -> Changes:
    """What has happened to files, given by name and mark."""
    return Changes(
        new=sorted(now.keys() - before.keys()),
        changed=sorted(name for name in now.keys() & before.keys() if now[name] != before[name]),
        gone=sorted(before.keys() - now.keys()),
    )


def look_at_files(sources: Sequence[CaptionSource]) -> dict[str, str]:
    """The files of all sources: `<source>: <path after the part without wildcards>` → mark of path and change.

    Raises:
        CaptionSourceError: a source cannot be reached, or has no file.
    """
    return {
        _name(source, file.url): fingerprint(file.url, file.change_mark)
        for source in sources
        for file in find_files(source)
    }


def files_version(files: Mapping[str, str]) -> str:
    """Fingerprint of what `look_at_files` found."""
    return fingerprint(sorted(files.items()))


def why_unfit(sources: Sequence[CaptionSource], names: Sequence[str]) -> str | None:
    """Why files, given as by `look_at_files`, are at first sight nothing that captions can be read from; else None.

    Looks at their first bytes alone: damage further behind is found by the run that reads them.
    """
    wanted = set(names)
    try:
        for source in sources:
            for file in find_files(source):
                if _name(source, file.url) in wanted:
                    file_format(file, source)
    except CaptionSourceError as error:
        return str(error)
    return None


def _name(source: CaptionSource, url: str) -> str:
    folder = source.path.partition("*")[0].partition("?")[0].partition("[")[0].rpartition("/")[0] + "/"
    return f"{source.name}: {url.removeprefix(folder)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
