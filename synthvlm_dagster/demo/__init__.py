"""The embedded default: a small world of coloured shapes, its judge, its captions and its trained models."""
