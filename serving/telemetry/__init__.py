"""What operators see of a server: metrics, logs, traces. Nothing here decides anything."""
