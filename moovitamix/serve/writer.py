"""Writes a generation: in full, verified, then made current by one SET.

What is written is told in `publish.py`, under which keys in `generations.py`. Which of those that
are alive is served afterwards, and how long, is told in `life.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
import redis
from numpy.typing import NDArray

from moovitamix.errors import MoovitaMixError
from moovitamix.serve.codec import DamagedValue, decode_list
from moovitamix.serve.generations import (
    COUNTED,
    TIME_TO_LIVE,
    Generation,
    Kind,
    key_of,
    living_names,
    meta_key,
    redis_answering,
    sequence_key,
)
from moovitamix.serve.life import make_current
from moovitamix.serve.roll import enter
from moovitamix.serve.sending import Sending

KEYS_PER_ROUND_TRIP = 1_000
_SAMPLES_PER_BLOCK = 4


class IncompleteGeneration(MoovitaMixError):
    """What was written is not all there: the old generation stays current."""


class GenerationWriter:
    """Writes one new generation, block by block, next to the one being served.

    Blocks are sent in a thread while the caller makes the next ones. What goes wrong there is
    raised by the next call.

    A context manager: when its block raises, what was written is removed again and the old
    generation stays current. When the process is killed, the remains expire by themselves.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        model_version: Of the registry.
        algorithm: What makes the users' lists.
        as_of: The last day of the matrix.
        matrix_fingerprint: Of the matrix.
        list_length: N.

    Raises:
        StoreUnavailable: By every method, when Redis does not answer or refuses.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: str,
        *,
        model_version: int,
        algorithm: str,
        as_of: date,
        matrix_fingerprint: str,
        list_length: int,
    ) -> None:
        self._client = client
        self._prefix = prefix
        with redis_answering():
            sequence = _next_in_sequence(client, prefix)
            seconds, _ = client.time()
        now = datetime.fromtimestamp(seconds, UTC)
        self._generation = Generation(
            name=f"v{model_version}-{as_of.isoformat()}-{sequence}",
            model_version=model_version,
            algorithm=algorithm,
            as_of=as_of,
            matrix_fingerprint=matrix_fingerprint,
            list_length=list_length,
            keys=dict.fromkeys(COUNTED, 0),
            published_at=now,
            expires_at=now + TIME_TO_LIVE,
        )
        self._deadline = int(self._generation.expires_at.timestamp())
        self._written: list[tuple[Kind, NDArray[np.int64]]] = []
        self._overall: list[bytes] = []
        self._sample: dict[bytes, bytes] = {}
        self._sending = Sending()
        self._switching = False
        self.bytes_written = 0

    @property
    def generation(self) -> Generation:
        """The description of what has been written so far."""
        return self._generation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sending.close()
        if error is not None and not self._switching:
            self._discard()

    def write(self, kind: Kind, ids: NDArray[np.int64], values: Sequence[bytes]) -> None:
        """Write the values of some users, tracks or genres.

        Args:
            kind: Any; `x` is not counted, for it comes and goes.
            ids: Shape (n,): whose values they are.
            values: n encoded lists.
        """
        keys = self._keys(kind, ids)
        self._written.append((kind, np.array(ids, dtype=np.int64)))  # first: to be discarded too
        self._send(keys, values)
        if kind in COUNTED:
            self._generation.keys[kind] += len(keys)

    def write_popular_overall(self, value: bytes) -> None:
        """Write the popular tracks of the whole catalogue."""
        key = key_of(self._prefix, self._generation.name, "p", "all")
        self._overall = [key]
        self._send([key], [value])
        self._generation.keys["p"] += 1

    def flush(self) -> None:
        """Wait until all that was given has been written."""
        self._sending.finish()

    def verify(self) -> None:
        """Make sure that every key is there, and that a sample holds and expires as written.

        Raises:
            IncompleteGeneration: When Redis has lost keys (evicted, flushed) or altered some.
        """
        self.flush()
        expected = sum(len(ids) for _, ids in self._written) + len(self._overall)
        with redis_answering():
            found = sum(int(self._client.exists(*batch)) for batch in self._batches())
        if found != expected:
            raise IncompleteGeneration(
                f"{expected - found} of {expected} keys of {self._generation.name} are gone again. "
                "Give Redis more memory or a `noeviction` policy, and publish again."
            )
        self._verify_sample()

    def make_current(
        self, before_switch: Callable[[Generation], None] = lambda _: None
    ) -> Generation:
        """Finish, then serve this generation instead of the one before, by one SET.

        The predecessor's keys are then made to live for at least the rollback window.

        Args:
            before_switch: As of `finish`.

        Raises:
            IncompleteGeneration: As `verify`; the one before stays current.
        """
        self.finish(before_switch)
        make_current(self._client, self._prefix, self._generation)
        return self._generation

    def finish(self, at_last: Callable[[Generation], None] = lambda _: None) -> Generation:
        """Verify, then describe this generation: it is whole, and can be served beside another.

        Args:
            at_last: Called when all is written and described: from then on whoever changes lists of
                all generations finds this one too, so here is read what has changed before.

        Raises:
            IncompleteGeneration: As `verify`.
        """
        self.verify()
        name = self._generation.name
        with redis_answering():
            self._client.set(
                meta_key(self._prefix, name),
                msgspec.json.encode(self._generation),
                exat=self._deadline,
            )
        enter(self._client, self._prefix, self._generation)
        at_last(self._generation)
        self._switching = True  # from here on readers may be in it, whatever we hear of it
        return self._generation

    def _keys(self, kind: Kind, ids: NDArray[np.int64]) -> list[bytes]:
        base = f"{self._prefix}:{self._generation.name}:{kind}:".encode()
        return [b"%b%d" % (base, item) for item in ids.tolist()]

    def _send(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        self.bytes_written += sum(map(len, values))
        for index in range(0, len(keys), len(keys) // _SAMPLES_PER_BLOCK + 1):
            self._sample[keys[index]] = values[index]
        self._sending.give(lambda: self._set(keys, values))

    def _set(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        with redis_answering():
            for start in range(0, len(keys), KEYS_PER_ROUND_TRIP):
                end = start + KEYS_PER_ROUND_TRIP
                pipeline = self._client.pipeline(transaction=False)
                for key, value in zip(keys[start:end], values[start:end], strict=True):
                    # `pipeline.set` looks at all its options first, which takes half as long again.
                    pipeline.execute_command(  # type: ignore[no-untyped-call]  # redis-py's
                        "SET", key, value, "EXAT", self._deadline
                    )
                pipeline.execute()

    def _batches(self) -> Iterator[list[bytes]]:
        for kind, ids in self._written:
            for start in range(0, len(ids), KEYS_PER_ROUND_TRIP):
                yield self._keys(kind, ids[start : start + KEYS_PER_ROUND_TRIP])
        if self._overall:
            yield self._overall

    def _verify_sample(self) -> None:
        keys = list(self._sample)
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
            pipeline.ttl(key)
        with redis_answering():
            answers = pipeline.execute()
        longest = int(TIME_TO_LIVE.total_seconds())
        for key, value, seconds_left in zip(keys, answers[::2], answers[1::2], strict=True):
            if value != self._sample[key] or not 0 < seconds_left <= longest:
                raise IncompleteGeneration(
                    f"{key.decode()} is not as written ({seconds_left} s left). "
                    "See who else writes to this Redis, and publish again."
                )
            try:
                decode_list(value)
            except DamagedValue as error:
                raise IncompleteGeneration(f"{key.decode()}: {error}") from error

    def _discard(self) -> None:
        """Remove what was written, as far as Redis still answers; the rest expires."""
        try:
            self._client.delete(meta_key(self._prefix, self._generation.name))
            for batch in self._batches():
                self._client.unlink(*batch)
        except redis.RedisError:
            return


def _next_in_sequence(client: redis.Redis, prefix: str) -> int:
    """The number of a new generation: higher than that of any whose keys are there.

    The counter never expires, but Redis may have been told to evict what it likes.
    """
    number = int(client.incr(sequence_key(prefix)))
    if number == 1 and (living := living_names(client, prefix)):
        highest = max(int(name.rpartition("-")[2]) for name in living)
        number = int(client.incrby(sequence_key(prefix), highest))
    return number
