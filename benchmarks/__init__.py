"""What an export costs, how long it takes and what it needs, against other tools and against what is possible.

python -m benchmarks [--size quick] [--only PART …]
"""
