"""Places for an export, and nothing about what lies there: `base` has the promises that all of them keep."""
