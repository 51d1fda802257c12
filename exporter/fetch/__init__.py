"""Reads pages of the list: decides what to ask, how fast, and over which connection."""
