"""Strategies: each reads an unpacked project and plans the steps that prove it works."""
