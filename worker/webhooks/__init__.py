"""Webhooks: delivers verdicts to subscribed URLs."""
