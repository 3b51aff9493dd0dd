"""The memory of the process, for trials and tests: gone when it ends, and not seen by any other."""

from synthvlm_dagster.store.backend import StorageBackend

BACKEND = StorageBackend(name="memory", schemes=("memory",), remote=False)
