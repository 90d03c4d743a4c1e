"""What people need to know of how the platform does: drift, figures, alerts, report."""
