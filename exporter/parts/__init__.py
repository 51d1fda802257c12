"""Writes, reads and merges Parquet parts, and checks them against their sums."""
