"""Delta and Iceberg tables over the parts, kept in step with the log."""
