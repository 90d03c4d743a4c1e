"""Tests of the stage `observe`."""
