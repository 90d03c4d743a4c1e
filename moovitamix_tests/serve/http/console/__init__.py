"""Tests of the console's pages, one by one and in a browser."""
