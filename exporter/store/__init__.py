"""Offers places for an export, and knows nothing of what lies there; `base` has the promises that all of them keep."""
