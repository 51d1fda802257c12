"""Shows the conversations of an export in a browser on the same machine: a server on loopback, which only reads."""
