"""The store: tables and files on any fsspec URL, behind one object.

What it can do stands in three modules: `paths` (single files), `tables` (parquet) and `publishing` (folders that are
replaced whole).
"""

from __future__ import annotations

from synthvlm_dagster.store.folder_swap import TEMPORARY_PREFIX
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.paths import NAMED_BY_CONTENT, QUARANTINE_SUFFIX, StoredFile
from synthvlm_dagster.store.publishing import PublishedFolders
from synthvlm_dagster.store.tables import UNREADABLE_TABLE, WHOLE_TABLE, Tables

__all__ = [
    "NAMED_BY_CONTENT",
    "QUARANTINE_SUFFIX",
    "TEMPORARY_PREFIX",
    "UNREADABLE_TABLE",
    "WHOLE_TABLE",
    "Storage",
    "StoredFile",
]


class Storage(Tables, PublishedFolders):
    """A folder of tables and files on a local disk or an object store.

    Every path given to the methods is relative to the storage URL and uses `/`. One that would leave it is refused
    with a StorageError, whatever the method: `..`, an absolute path, a backslash, a control character, any of these
    behind %-signs; and nothing is written or deleted through a link that leads out of it.
    """

    def made_from(self, name: str) -> MadeFrom | None:
        """The record of a table kept in one file, or of a folder that is replaced whole; None where there is none.

        Raises:
            StorageError: the table is damaged, or the store cannot be reached.
        """
        return self.table_made_from(name) or self.folder_made_from(name)
