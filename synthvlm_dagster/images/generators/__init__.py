"""Diffusion models that draw captions: every family of text-to-image pipelines of diffusers behind one interface."""

from synthvlm_dagster.images.generators.diffusers_generator import DiffusersGenerator

__all__ = ["DiffusersGenerator"]
