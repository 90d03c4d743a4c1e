"""MoovitaMix: a listening API turned into daily recommendations, by a Dagster asset graph."""

from importlib.metadata import version

__version__ = version("moovitamix")
