"""Sends requests over HTTP, and says what their answers mean."""
