"""Holds what the exporter is measured against: programs as people write them, each run in a process of its own."""
