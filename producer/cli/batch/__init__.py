"""The commands of ``revalid batch``."""
