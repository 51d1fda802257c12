"""A stand-in for the API on loopback, with made-up conversations and switchable behaviour."""
