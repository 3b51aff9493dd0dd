"""Where tables and captions can stand, one kind of place in each file; other schemes of fsspec stay as they are."""

from synthvlm_dagster.parts import find_parts
from synthvlm_dagster.store.backend import StorageBackend

__all__ = ["BACKENDS", "backend_of"]

BACKENDS: dict[str, StorageBackend] = find_parts(__name__, "BACKEND")
"""By name."""

_BY_SCHEME = {scheme: backend for backend in BACKENDS.values() for scheme in backend.schemes}


def backend_of(scheme: str) -> StorageBackend | None:
    """The backend that URLs of a scheme, such as `s3`, belong to; None where fsspec's own must do."""
    return _BY_SCHEME.get(scheme)
