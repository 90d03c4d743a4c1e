"""The tests of MoovitaMix, in the folders of what they test."""
