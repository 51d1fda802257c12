"""Decides when to ask, how much at once, and whether to ask again. Pure."""
