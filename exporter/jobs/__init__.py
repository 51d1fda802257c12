"""Holds the commands, one module each: a composition root that opens the edges and runs the pipeline."""
