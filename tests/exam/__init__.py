"""The exam: public collections with known verdicts, run as one batch."""
