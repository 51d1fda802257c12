"""Shows the conversations of an export in a browser on this machine: finds them, and plays what was said."""
