"""Decides what is read next: windows over the range, and which worker reads which."""
