"""Checks whether everything at a destination is as it should be. Changes nothing."""
