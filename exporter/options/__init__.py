"""Turns what a caller asks for into one checked request: flags and Python programs build the same `ExportSpec`."""
