"""Walks a window, and proves that every row of it has been read. Pure."""
