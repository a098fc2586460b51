"""The Dagger sandbox: a container on a Dagger engine."""
