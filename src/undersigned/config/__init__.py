"""The only place that knows everything: environment, settings, the running process."""
