"""What holds an export together: the numbered commits, the state they fold to, and the manifest."""
