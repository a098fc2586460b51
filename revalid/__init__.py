"""The public API of revalid."""
