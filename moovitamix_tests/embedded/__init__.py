"""Tests of the servers that start on demand."""
