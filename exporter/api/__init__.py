"""The package as a library: what Python programs call. Its names are those of `exporter`, which loads them lazily."""
