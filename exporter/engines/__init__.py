"""Runs tasks elsewhere: in processes of this machine, on Spark, or on Ray. Nothing below knows any of them."""
