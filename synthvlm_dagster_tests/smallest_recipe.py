"""The text of a recipe with nothing but what every recipe needs, for tests to add to and to spoil."""

SMALLEST = """\
name: smallest
sources:
  - name: mine
    path: captions.csv
generation:
  model: org/model
selection:
  count: 10
"""
