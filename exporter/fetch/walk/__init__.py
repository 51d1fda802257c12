"""The walk, which proves that it has read every row of a window. Pure."""
