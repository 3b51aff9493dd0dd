"""Runs and the processes that work on them: which process a run has, whether it lives, and who gets a GPU."""
