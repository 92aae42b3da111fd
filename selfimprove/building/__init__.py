"""Data sets from rows: duplicates, contamination, balance, mixing, splitting, and pairs from scored answers."""
