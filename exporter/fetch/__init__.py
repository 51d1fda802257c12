"""Reading pages of the list: what to ask, how fast, and over which connection."""
