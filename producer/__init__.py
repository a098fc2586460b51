"""The side that submits jobs: the client, the command line and the embedded broker."""
