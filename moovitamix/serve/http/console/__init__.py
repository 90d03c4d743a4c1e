"""The console: pages of the HTTP API for people, who want to see how it goes and why."""
