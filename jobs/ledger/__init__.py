"""The ledger: the authoritative record of every job, in Redis."""
