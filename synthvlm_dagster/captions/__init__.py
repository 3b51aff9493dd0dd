"""Captions: read them from the files a recipe names, keep those worth an image (SynthVLM §3.1)."""
