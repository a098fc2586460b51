"""The side that runs jobs: Celery tasks, the runner, the sandboxes and the strategies."""
