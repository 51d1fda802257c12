"""Answers SQL over an export: exactly the files that its manifest names, read-only, and nothing else."""
