"""Repositories of the Hugging Face hub."""

from synthvlm_dagster.store.backend import StorageBackend

BACKEND = StorageBackend(name="Hugging Face", schemes=("hf",), credentials="HF_TOKEN")
