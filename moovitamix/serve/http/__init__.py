"""The HTTP API: what an app's back end reads, always answered, by the best tier there is."""
