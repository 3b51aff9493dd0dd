"""Between scores and dataset: which captions get another image, decided by the scores of those they have."""
