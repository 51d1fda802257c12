"""Holds the programs that the exporter is compared with, as people write them; each runs in a process of its own."""
