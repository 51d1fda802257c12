"""A directory on a local disk."""
