"""Web servers."""

from synthvlm_dagster.store.backend import StorageBackend

BACKEND = StorageBackend(
    name="web server",
    schemes=("https", "http"),
    credentials='FSSPEC_HTTPS to {"client_kwargs": {"headers": {"Authorization": "Bearer …"}}}, or for a judge the '
    "variable that its api_key_variable names,",
)
