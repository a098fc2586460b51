"""Benchmarks: ratios measured in one run, since absolute times depend on the machine."""
