"""Strategies of Node projects."""
