"""Messages arrive; whoever logs never waits, whatever the server does, nor does a process's end."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moovitamix.observe.logs.address import read_address
from moovitamix.observe.logs.gelf import Entry, encode
from moovitamix.observe.logs.shipping import Connect, Shipper
from moovitamix_tests.observe.logs.receiver import PATIENCE, Receiver, faults_of


def message(said: str) -> bytes:
    return encode(Entry(at=0, level=20, message=said, fields={}), "h", {})


def told(count: int) -> bytes:
    return message(f"{count} dropped")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


def a_shipper(receiver: Receiver, connect: Connect | None = None, waiting: int = 100) -> Shipper:
    address = read_address(receiver.url)
    return Shipper(
        connect or address.connect, str(address), told, waiting=waiting, first_pause=0.01
    )


class Valve:
    """A way to a server that lets nobody through until it is opened, as a dead host does."""

    def __init__(self, receiver: Receiver) -> None:
        self._address = read_address(receiver.url)
        self.opened = threading.Event()
        self.tried = threading.Event()

    def connect(self, seconds: float) -> socket.socket:
        self.tried.set()
        self.opened.wait(PATIENCE)
        return self._address.connect(seconds)


def test_what_is_put_arrives_in_its_order_on_one_connection(receiver: Receiver) -> None:
    shipper = a_shipper(receiver, waiting=10_000)
    said = [f"message {number}" for number in range(3_000)]
    for sentence in said:
        shipper.put(message(sentence))
    shipper.close(PATIENCE)
    receiver.wait_for(len(said))
    assert receiver.said() == said
    assert receiver.connections == 1
    assert shipper.lost == 0


def test_who_logs_waits_for_nothing_and_the_oldest_give_way_to_the_newest(
    receiver: Receiver,
) -> None:
    valve = Valve(receiver)
    shipper = a_shipper(receiver, valve.connect, waiting=10)
    shipper.put(message("first"))
    assert valve.tried.wait(PATIENCE)
    for number in range(1_000):  # would never end if it waited: the valve is closed
        shipper.put(message(f"message {number}"))
    valve.opened.set()
    assert shipper.flush(PATIENCE)
    shipper.close()
    receiver.wait_for(11)
    # The first was on its way already.
    newest = [f"message {number}" for number in range(991, 1_000)]
    assert sorted(receiver.said()) == sorted(["first", *newest, "991 dropped"])


def test_long_messages_are_bounded_by_what_they_take(receiver: Receiver) -> None:
    valve = Valve(receiver)
    shipper = Shipper(valve.connect, receiver.url, told, waiting_bytes=50_000)
    shipper.put(message("first"))
    assert valve.tried.wait(PATIENCE)
    for number in range(30):
        shipper.put(message(f"{number} ".ljust(3_950, "x")))
    valve.opened.set()
    assert shipper.flush(PATIENCE)
    shipper.close()
    receiver.wait_for(1 + 12 + 1)
    assert shipper.lost == 18
    kept = {said.partition(" ")[0] for said in receiver.said()}
    assert kept == {"first", "18", *map(str, range(18, 30))}


def test_a_server_that_hangs_up_or_starts_again_gets_what_comes_after(receiver: Receiver) -> None:
    shipper = a_shipper(receiver)
    shipper.put(message("before"))
    receiver.wait_for(1)
    receiver.hang_up()
    shipper.put(message("after"))
    receiver.wait_for(2)
    port = receiver.port
    receiver.__exit__()
    for number in range(5):
        shipper.put(message(f"while it is down {number}"))
    with Receiver(port) as again:
        again.wait_for(5)
        shipper.close()
    assert receiver.said() == ["before", "after"]
    assert again.said() == [f"while it is down {number}" for number in range(5)]
    assert shipper.lost == 0


def test_the_end_does_not_wait_for_a_server_that_does_not_answer(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    valve = Valve(receiver)
    shipper = a_shipper(receiver, valve.connect)
    for number in range(3):
        shipper.put(message(f"message {number}"))
    assert valve.tried.wait(PATIENCE)
    shipper.close(0.01)
    shipper.close(PATIENCE)  # nor a second time
    shipper.put(message("too late"))
    assert shipper.lost == 4
    assert f"3 log messages did not reach gelf+tcp://localhost:{receiver.port}" in caplog.text
    valve.opened.set()


def test_a_server_that_is_down_is_told_of_once_and_tried_once_more_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Receiver() as gone:
        pass
    attempts: list[float] = []

    def connect(seconds: float) -> socket.socket:
        attempts.append(seconds)
        raise ConnectionRefusedError

    shipper = Shipper(connect, gone.url, told, first_pause=60)
    shipper.put(message("unheard"))
    shipper.close(PATIENCE)
    assert 1 <= len(attempts) <= 2
    assert caplog.text.count("takes no log messages: ConnectionRefusedError") == 1
    assert shipper.lost == 1


def test_a_forked_process_sends_what_is_its_own_and_nothing_twice(receiver: Receiver) -> None:
    valve = Valve(receiver)
    shipper = a_shipper(receiver, valve.connect)
    shipper.put(message("of the parent"))
    assert valve.tried.wait(PATIENCE)
    valve.opened.set()
    receiver.wait_for(1)
    child = os.fork()
    if child == 0:
        try:
            shipper.put(message("of the child"))
            shipper.close(PATIENCE)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    shipper.put(message("of the parent again"))
    shipper.close(PATIENCE)
    receiver.wait_for(3)
    assert sorted(receiver.said()) == ["of the child", "of the parent", "of the parent again"]
    assert receiver.connections == 2


_PROGRAM = """
import logging, multiprocessing
from moovitamix.observe.logs.process import attach

def work():
    attach("run")
    logging.getLogger("moovitamix").warning("from a process it started")

if __name__ == "__main__":
    attach("api")
    logging.getLogger("moovitamix").warning("on the way out")
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
"""


def test_what_is_said_last_is_sent_before_a_process_ends(
    receiver: Receiver, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    environment = {**os.environ, "MOOVITAMIX_GELF_URL": receiver.url}
    subprocess.run([sys.executable, str(program)], env=environment, check=True, timeout=120)
    receiver.wait_for(2)
    found = {one["short_message"]: one for one in receiver.messages}
    assert found["on the way out"]["_service"] == "api"
    assert found["from a process it started"]["_service"] == "run"
    assert [faults_of(one) for one in receiver.messages] == [[], []]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of `localhost`, signed by itself, with its key."""
    made = tmp_path / "certificate.pem"
    try:
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(made)),
                *("-out", str(tmp_path / "cert.pem")),
            ],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("NOT CHECKED: openssl, which makes the certificate, is not installed")
    with made.open("a") as both:
        both.write((tmp_path / "cert.pem").read_text())
    return made


def test_by_tls_only_a_server_that_proves_its_name_is_told_anything(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Receiver(tls=context) as receiver:
        unproven = a_shipper(receiver)
        unproven.put(message("to anybody"))
        unproven.close(PATIENCE)
        assert "SSLCertVerificationError" in caplog.text
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        proven = a_shipper(receiver)
        proven.put(message("to who is trusted"))
        receiver.wait_for(1)
        receiver.hang_up()
        proven.put(message("on another connection"))
        receiver.wait_for(2)
        proven.close(PATIENCE)
    assert receiver.said() == ["to who is trusted", "on another connection"]
