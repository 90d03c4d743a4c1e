"""Opens Redis: a client of one server, or of a whole cluster where the address is a node of one.

Which address it is is told by `moovitamix/resources.py`, which keys are there by `generations.py`.
"""

from __future__ import annotations

from typing import cast

import redis

from moovitamix.errors import StoreUnavailable

_SECONDS_TO_CONNECT = 5


def open_redis(address: str) -> redis.Redis:
    """A client that answers bytes; to be closed.

    A node is asked whether it belongs to a cluster. The client of a cluster is no subclass of
    `redis.Redis`, but does what is used here: single keys, pipelines without a transaction, EXISTS,
    UNLINK and `scan_iter`. It has no MGET across slots, and its SCAN answers no single cursor.

    Args:
        address: A redis URL.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    client = redis.Redis.from_url(address, socket_connect_timeout=_SECONDS_TO_CONNECT)
    try:
        client.ping()
        if is_of_a_cluster(client):
            client.close()
            cluster = redis.RedisCluster.from_url(
                address, socket_connect_timeout=_SECONDS_TO_CONNECT
            )
            return cast("redis.Redis", cluster)
    except (redis.ConnectionError, redis.TimeoutError, redis.RedisClusterException) as error:
        client.close()
        raise StoreUnavailable(
            f"Redis does not answer: {error}. "
            "Start it or correct MOOVITAMIX_REDIS_URL; `moovitamix doctor` tests it."
        ) from error
    return client


def is_of_a_cluster(client: redis.Redis) -> bool:
    """Whether a client is of a cluster or one of its nodes; False where it may not ask."""
    if isinstance(cast("object", client), redis.RedisCluster):
        return True
    try:
        told = cast("dict[str, int]", client.info("cluster"))
    except redis.ResponseError:  # this user may not ask, or a proxy does not know the command
        return False
    return bool(told.get("cluster_enabled"))


def is_cluster(address: str) -> bool:
    """Whether the address is that of a node of a cluster; False where nobody answers there."""
    with redis.Redis.from_url(address, socket_connect_timeout=_SECONDS_TO_CONNECT) as client:
        try:
            return is_of_a_cluster(client)
        except redis.RedisError:
            return False
