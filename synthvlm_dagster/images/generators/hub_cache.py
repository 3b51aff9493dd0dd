"""What the hub's cache on this machine holds of a model."""

from __future__ import annotations

from pathlib import Path

from synthvlm_dagster.images.model_folder import is_local


def bytes_in_hub_cache(model: str) -> int:
    """Bytes that the hub's cache on this machine holds of a model, those of unfinished downloads included.

    Args:
        model: hub id, or a local folder, of which the cache holds 0 bytes.
    """
    if is_local(model):
        return 0
    found = 0
    for file in (_repository(model) / "blobs").glob("*"):
        try:
            found += file.stat().st_size
        except FileNotFoundError:
            # An unfinished download gets its final name in the meantime.
            continue
    return found


def cached_commit(model: str, revision: str | None) -> str | None:
    """The commit that a branch, tag or commit of a model has in the hub's cache, 40 hexadecimal digits.

    Args:
        model: hub id or local folder.
        revision: None: the branch main.

    Returns:
        None for what is not in the cache, among others for local folders.
    """
    if is_local(model):
        return None
    repository = _repository(model)
    name = revision or "main"
    if (repository / "snapshots" / name).is_dir():
        return name
    reference = repository / "refs" / name
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def _repository(model: str) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    return Path(HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model")
