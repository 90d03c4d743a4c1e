"""Tests of the observe stage."""
