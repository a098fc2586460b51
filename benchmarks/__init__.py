"""Ratios, each measured in one run on one machine; absolute times say little elsewhere."""
