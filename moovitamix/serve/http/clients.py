"""Clients of Redis for this process: for requests, and for what goes on in the background.

Both have time limits, unlike those of `serve/connection.py`, which commands wait for.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

# Seconds until a Redis that does not answer the background is given up.
_PATIENCE = 2.0


def async_client(address: str, *, cluster: bool) -> Any:
    """A client for requests: no second attempts, for the breaker decides about these."""
    if cluster:
        return RedisCluster.from_url(address, socket_timeout=_PATIENCE)
    return Redis.from_url(
        address,
        socket_timeout=None,  # a batch has a limit of its own, which costs less than one a read
        socket_connect_timeout=1.0,
        retry=AsyncRetry(NoBackoff(), 0),
        protocol=2,
    )


def client(address: str, *, cluster: bool) -> Any:
    """A client for the background."""
    if cluster:
        return redis.RedisCluster.from_url(address, socket_timeout=_PATIENCE)
    return redis.Redis.from_url(
        address,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
