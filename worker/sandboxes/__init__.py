"""Sandboxes: where steps run."""
