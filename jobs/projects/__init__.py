"""Packing, checking and storing of projects."""
