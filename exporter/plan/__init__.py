"""What to read next: windows over the range, and who reads which."""
