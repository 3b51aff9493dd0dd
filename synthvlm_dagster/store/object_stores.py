"""File systems behind URLs, with the patience that object stores need.

Everything can be set otherwise in fsspec's own configuration, in ~/.config/fsspec or the environment
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration), for example
`FSSPEC_S3='{"config_kwargs": {"read_timeout": 120}}'`.
"""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
from fsspec.config import conf

from synthvlm_dagster.store.backend import StorageBackend
from synthvlm_dagster.store.backends import backend_of


def filesystem_at(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system that a URL or path names, made patient as its `StorageBackend` says, and the path on it.

    Raises:
        ImportError: the package for the URL's scheme is not installed; says how to install it.
        ValueError: there is no such scheme.
    """
    for backend in _backends(url):
        settings = conf.setdefault(backend.schemes[0], {})
        for name, defaults in backend.options.items():
            settings[name] = {**defaults, **settings.get(name, {})}
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extras = [backend.extra for backend in _backends(url) if backend.extra]
        install = "".join(f": pip install 'synthvlm_dagster[{extra}]'" for extra in extras)
        raise ImportError(f"{error}{install}") from error
    protocols = (filesystem.protocol,) if isinstance(filesystem.protocol, str) else filesystem.protocol
    if opened := backend_of(protocols[0]):
        opened.prepare(filesystem)
    return filesystem, path


def is_remote(location: str) -> bool:
    """Whether reading a path or URL takes a network. Of a file in an archive it is the archive's place that counts."""
    scheme, found, _ = location.rpartition("::")[2].partition("://")
    if not found:
        return False
    backend = backend_of(scheme)
    return backend is None or backend.remote


def _backends(url: str) -> Iterator[StorageBackend]:
    """Those that the parts of a URL, such as `zip://*.json::s3://…`, belong to."""
    for part in url.split("::"):
        scheme, found, _ = part.partition("://")
        if found and (backend := backend_of(scheme)):
            yield backend
