"""The local sandbox: a temporary directory on the worker."""
