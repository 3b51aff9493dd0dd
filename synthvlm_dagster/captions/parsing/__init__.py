"""Parsing of caption files: what several formats have in common."""
