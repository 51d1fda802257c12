"""Measures what an export costs and needs, and how long it takes, against other tools and against what is possible.

python -m benchmarks [--size quick] [--only PART …]
"""
