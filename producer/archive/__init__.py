"""The archive of finished jobs in a SQL database; it needs the extra ``archive``."""
