"""Captions that arrive: files of the recipe's sources that are new or have changed are taken in by themselves."""
