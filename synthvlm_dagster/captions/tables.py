"""Where the stage's tables stand in the store."""

RAW = "captions/raw"
CURATED = "captions/curated"
REJECTED = "captions/rejected"
KEPT_BY_TEMPLATE = "captions/kept_by_template"
