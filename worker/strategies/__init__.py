"""Strategies: each looks at an unpacked project and makes the steps that prove it works."""
