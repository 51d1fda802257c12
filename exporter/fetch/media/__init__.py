"""Fetches recordings from whatever host the API names, which is trusted with nothing."""
