"""The strategy of Python projects."""
