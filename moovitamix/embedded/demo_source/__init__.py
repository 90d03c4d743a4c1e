"""The demonstration source: a made-up music app that speaks the contract of the real source.

`world` says what there is at a moment, `app` speaks the contract, `server` runs it. The package
imports nothing here, so that starting the server costs only what the server needs.
"""
