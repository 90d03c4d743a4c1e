"""Tests of what deploys and checks the project, not of its code."""
