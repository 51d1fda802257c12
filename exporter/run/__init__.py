"""Holds the steps that every run shares: it connects, claims the destination, reads, records and finishes."""
