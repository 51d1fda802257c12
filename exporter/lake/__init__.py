"""Keeps Delta and Iceberg tables over the parts in step with the log."""
