"""Fetches recordings from hosts that the API names and nobody vouches for: where to connect, and what to believe."""
