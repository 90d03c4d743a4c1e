"""Real servers on loopback that take what alerts are sent by: mail, and a webhook.

Both can be told to take nothing, and back, without changing their address.
"""

from __future__ import annotations

import asyncio
import email
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default as modern
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

MAIL_USER, MAIL_PASSWORD = "postmaster", "mail-hunter2"
HOOK_USER, HOOK_PASSWORD = "hookman", "hook-hunter2"
HOOK_TOKEN = "t0ken-in-the-path"
SECRETS = (MAIL_PASSWORD, HOOK_PASSWORD, HOOK_TOKEN)


class Mailbox:
    """What a mail server was given."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.down = False
        self.port = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        if self.down:
            return "451 Try again later"
        content = envelope.original_content or b""
        mail = email.message_from_bytes(content, policy=modern)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 Taken"

    @property
    def url(self) -> str:
        return (
            f"mailto://{MAIL_USER}:{MAIL_PASSWORD}@127.0.0.1:{self.port}"
            "?from=moovitamix@example.org&to=oncall@example.org&mode=insecure"
        )

    @property
    def titles(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    @property
    def bodies(self) -> list[str]:
        found = []
        for mail in self.mails:
            part = mail.get_body(("plain", "html"))
            assert part is not None
            found.append(str(part.get_content()))
        return found


class _OnAnyPort(Controller):
    """A server on a port that the system picks."""

    @property
    def bound(self) -> int:
        assert isinstance(self.server, asyncio.Server)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    def _trigger_server(self) -> None:
        with socket.create_connection(("127.0.0.1", self.bound), 5) as connection:
            connection.recv(64)


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """A real SMTP server that asks for a password."""
    mailbox = Mailbox()

    def authenticate(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        known = LoginPassword(MAIL_USER.encode(), MAIL_PASSWORD.encode())
        return AuthResult(success=data == known)

    controller = _OnAnyPort(
        mailbox,
        hostname="127.0.0.1",
        port=0,
        authenticator=authenticate,
        auth_required=True,
        auth_require_tls=False,
    )
    controller.start()
    try:
        mailbox.port = controller.bound
        yield mailbox
    finally:
        controller.stop()


class Hook:
    """What a webhook was given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.down = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"json://{HOOK_USER}:{HOOK_PASSWORD}@127.0.0.1:{self.port}/{HOOK_TOKEN}"

    @property
    def titles(self) -> list[str]:
        return [str(message["title"]) for message in self.messages]

    @property
    def bodies(self) -> list[str]:
        return [str(message["message"]) for message in self.messages]


@contextmanager
def webhook() -> Iterator[Hook]:
    """A real HTTP server that takes JSON."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if hook.down or self.path.strip("/") != HOOK_TOKEN:
                self.send_response(503)
            else:
                hook.messages.append(json.loads(body))
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nothing to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()
