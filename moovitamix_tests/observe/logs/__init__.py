"""Tests of what is logged, where it goes, and what a receiver finds."""
