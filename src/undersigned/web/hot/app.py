"""The front of the process: which requests the signing path takes, and which Django."""

from __future__ import annotations

import json

from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import StorageFailed, UndersignedError
from undersigned.web.hot.door import Door, describe_turn
from undersigned.web.hot.files import Files
from undersigned.web.hot.nodes import NODE_PREFIX, NodePath
from undersigned.web.hot.pages import Pages
from undersigned.web.hot.sign import SigningPaths
from undersigned.web.hot.wire import (
    NO_STORE,
    ASGIApp,
    ClientGone,
    MethodNotTaken,
    NothingHere,
    Receive,
    Scope,
    Send,
    answer,
    hand_on,
    receive_whole,
)
from undersigned.web.hot.witness import WITNESS_PATH, WitnessPath
from undersigned.web.shared.problem import as_anticipated, problem
from undersigned.web.shared.public_files import is_log_file
from undersigned.web.shared.services import Services
from undersigned.web.shared.waiting import RenderWait

# By scripts that wait for their turn.
_WAIT_PREFIX = "wait/"
_BODILESS = ("GET", "HEAD", "OPTIONS")


class HotApp:
    """Raw ASGI in front of ``behind`` (Django).

    ``witness``: what cosigns other people's logs; it refuses all that are not trusted.
    ``nodes``: what web nodes ask for, where there are some.
    ``pages``: rendered pages, where they are kept. ``prefix_static``: where the site's
    own files are asked for, ``static/``. ``render_wait``: the page for who must wait.
    """

    def __init__(
        self,
        *,
        services: Services,
        files: Files,
        behind: ASGIApp,
        witness: WitnessPath | None = None,
        nodes: NodePath | None = None,
        pages: Pages | None = None,
        prefix_static: str = "static/",
        render_wait: RenderWait | None = None,
    ) -> None:
        self.services = services
        self._files = files
        self._pages = pages
        self._behind = behind
        self._door = Door(services=services, behind=behind, render=render_wait)
        self._witness = witness
        self._nodes = nodes
        self._prefix_static = prefix_static
        self.signing = SigningPaths(services)

    def stop(self) -> None:
        """End what has a thread of its own."""
        if self._witness is not None:
            self._witness.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        path = scope["path"][1:]
        try:
            if path.startswith("c/"):
                taken = await self._handle_campaign(path, scope, receive, send)
            elif path.startswith(("spine/", "policy.txt")) and is_log_file(path):
                await self._files.send_log_file(scope, send, path)
                taken = True
            elif path == WITNESS_PATH and self._witness is not None:
                await self._witness.handle(scope, receive, send)
                taken = True
            elif path.startswith(_WAIT_PREFIX):
                await self._tell_turn(path[len(_WAIT_PREFIX) :], scope, send)
                taken = True
            elif self._nodes is not None and path.startswith(NODE_PREFIX):
                await self._nodes.handle(scope, receive, send)
                taken = True
            elif path.startswith(self._prefix_static):
                name = path[len(self._prefix_static) :]
                await self._files.send_static(scope, send, name)
                taken = True
            else:
                taken = self._pages is not None and await self._pages.send(scope, send)
            body = None
            if not taken and scope["method"] not in _BODILESS:
                body = await receive_whole(scope, receive)
                receive = hand_on(body, receive)
        except (UndersignedError, StorageFailed) as found:
            error = as_anticipated(found) or StoreStopped()
            status, body, headers = problem(error)
            if isinstance(error, MethodNotTaken):
                headers.append((b"allow", str(error.data["allowed"]).encode()))
            await answer(send, status, body, headers, head=scope["method"] == "HEAD")
            return
        except ClientGone:
            return
        if not taken:
            await self._door.pass_on(scope, receive, send, body=body)

    async def _tell_turn(self, turn: str, scope: Scope, send: Send) -> None:
        """Answer ``GET wait/TURN``: how long yet. Nothing changes by asking."""
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotTaken(allowed="GET, HEAD")
        body = json.dumps(describe_turn(self.services.lines.look(turn))).encode()
        headers = [(b"content-type", b"application/json"), NO_STORE]
        await answer(send, 200, body, headers, head=scope["method"] == "HEAD")

    async def _handle_campaign(
        self, path: str, scope: Scope, receive: Receive, send: Send
    ) -> bool:
        base, _slash, action = path.rpartition("/")
        if self.signing.takes(action):
            book_entry = self.services.book.find(base)
            if book_entry is None:
                raise NothingHere()
            await self.signing.handle(action, book_entry, scope, receive, send)
            return True
        if is_log_file(path):
            await self._files.send_log_file(scope, send, path)
            return True
        # ``/c/ID`` and ``/c/ID/`` are for people: Django sends them to a language.
        return False
