"""The archive of finished jobs in a SQL database; what is here needs the extra ``archive``."""
