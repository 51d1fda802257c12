"""What lies at the destination: parts, commits, the manifest, and the edge that writes them."""
