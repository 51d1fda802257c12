"""What is asked for, from whatever asks: flags, files and Python programs build one `ExportSpec`."""
