"""Tests of the lists in Redis."""
