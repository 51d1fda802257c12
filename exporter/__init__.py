"""Exact, resumable bulk export of voice-agent conversations to partitioned Parquet."""

__version__ = "0.1.0"
