"""Holds the commands, one module each. A command opens the edges and runs the pipeline."""
