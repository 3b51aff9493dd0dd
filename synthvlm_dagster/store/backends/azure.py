"""Azure Blob Storage and Data Lake."""

from synthvlm_dagster.store.backend import StorageBackend

BACKEND = StorageBackend(
    name="Azure",
    schemes=("abfs", "abfss", "az", "adl"),
    credentials="AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    names_user=True,
)
