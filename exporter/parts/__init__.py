"""Parquet parts: written, read, checked against their sums, and merged."""
