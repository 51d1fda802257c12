"""Holds the calls for Python programs. `exporter` exports them, and loads them lazily."""
