"""Webhooks: who is told of a verdict, and how."""
