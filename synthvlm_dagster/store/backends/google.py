"""Google Cloud Storage."""

from synthvlm_dagster.store.backend import StorageBackend

BACKEND = StorageBackend(
    name="Google Cloud Storage",
    schemes=("gs", "gcs"),
    credentials="GOOGLE_APPLICATION_CREDENTIALS, or give the machine a service account",
    extra="gcs",
)
