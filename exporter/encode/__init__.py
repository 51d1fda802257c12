"""Page bytes to Arrow record batches."""
