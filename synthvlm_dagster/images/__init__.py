"""Captions to images: which images to make, and the diffusion models that make them (SynthVLM §3.2)."""
