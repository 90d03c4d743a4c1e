"""Listens are posted while servers are killed: see `__main__.py`."""
