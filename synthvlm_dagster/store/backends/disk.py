"""This machine's disks."""

from synthvlm_dagster.store.backend import StorageBackend

BACKEND = StorageBackend(name="disk", schemes=("file", "local"), remote=False)
