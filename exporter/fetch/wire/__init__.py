"""The HTTP client, and what its answers mean."""
