"""The calls for Python programs. Their names are those of `exporter`, which loads them lazily."""
