"""Tests of the `recommend` stage."""
