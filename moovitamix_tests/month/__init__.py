"""A month that passes in minutes: see `__main__.py`."""
