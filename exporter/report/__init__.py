"""Draws an export as one page to look at: what it is, whether it can be trusted, and what its conversations show."""
