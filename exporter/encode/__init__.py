"""Page bytes become Arrow record batches of each table. Pure."""
