"""The quality report: one page to look at."""
