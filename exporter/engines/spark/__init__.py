"""Leads Spark to the API: as a source of rows, and as an engine that runs tasks. Only this room knows of pyspark."""
