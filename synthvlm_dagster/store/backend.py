"""What every kind of place is that tables and captions can stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


def _leave_alone(_: Any) -> None:
    """For file systems that are well as they come."""


@dataclass(frozen=True, kw_only=True)
class StorageBackend:
    """One file system of fsspec, with what has to be known of it beyond fsspec.

    Attributes:
        name: what people call it.
        schemes: of its URLs; first the one that fsspec's configuration knows it by.
        remote: whether asking it takes a network.
        credentials: the environment variables to set in place of credentials in a URL; None: it takes none.
        names_user: whether its URLs write a user or container before the host, which is no secret.
        extra: of this package, that installs it; None: it is always there.
        options: of its file system, where fsspec's configuration does not say otherwise.
        prepare: makes an opened file system patient.
    """

    name: str
    schemes: tuple[str, ...]
    remote: bool = True
    credentials: str | None = None
    names_user: bool = False
    extra: str | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prepare: Callable[[Any], None] = _leave_alone
