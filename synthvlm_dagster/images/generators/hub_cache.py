"""How far the download of a model from the hub has come."""

from __future__ import annotations

from pathlib import Path


def bytes_in_hub_cache(model: str) -> int:
    """Bytes that the hub's cache on this machine holds of a model, those of unfinished downloads included.

    Args:
        model: hub id; 0 bytes are held of anything else.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    blobs = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model") / "blobs"
    found = 0
    for file in blobs.glob("*"):
        try:
            found += file.stat().st_size
        except FileNotFoundError:
            # An unfinished download gets its final name in the meantime.
            continue
    return found
