"""Another try for captions whose best image is under the quality bar: which, within which budget, and what it brought.

A night is kept in the store from its first image to its report, so that one that was killed goes on where it stopped.
"""
