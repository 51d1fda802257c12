"""Holds an export together: the numbered commits, the state that they fold to, and the manifest."""
