"""Definitions that producers and workers share: jobs, steps, results, errors and the ledger."""
