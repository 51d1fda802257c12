"""Keeps an export in a directory on a local disk."""
