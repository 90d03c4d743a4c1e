"""Real servers on demand: Postgres, Valkey and the demonstration source, without an installation.

What talks to them is `moovitamix.resources` and the stages; nothing here knows a table or a key.
"""
