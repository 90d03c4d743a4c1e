"""What the platform tells of itself in figures, for Prometheus and for whoever asks Postgres."""
