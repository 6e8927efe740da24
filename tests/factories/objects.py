"""Object stores for tests: a real one that speaks S3, and one that notes every act."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from undersigned.web.objects.logs import tag_of
from undersigned.web.objects.store import Held, StoreAway

PROGRAM = Path(__file__).with_name("s3_server.py")
KEY_ID = "omar:store"
SECRET = "kept-in-a-file"
BUCKET = "public-files"


class S3Server:
    """A real server (``s3_server.py``), which can be stopped and come back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The bucket, as UNDERSIGNED_OBJECTS_URL."""
        return f"http://127.0.0.1:{self.port}/{BUCKET}"

    @property
    def key(self) -> str:
        """The key, as UNDERSIGNED_OBJECTS_KEY."""
        return f"{KEY_ID}:{SECRET}"

    @property
    def read_url(self) -> str:
        """Where anybody reads it, without a key."""
        return f"http://127.0.0.1:{self.port}/v1/AUTH_omar/{BUCKET}"

    def start(self) -> None:
        """Start, at the same port as before; what was kept is there."""
        words = [str(self._folder), BUCKET, KEY_ID, SECRET, str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """End it as it stands."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass
class NotingStore:
    """A store in memory: every act in order, and trouble where a test wants some.

    ``trouble`` is asked before each act, with its verb and key; it may raise StoreAway.
    """

    objects: dict[str, tuple[bytes, Mapping[str, str]]] = field(default_factory=dict)
    acts: list[tuple[str, str]] = field(default_factory=list)
    trouble: Callable[[str, str], None] = lambda _verb, _key: None
    keeps_versions: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _act(self, verb: str, key: str) -> None:
        with self._lock:
            self.trouble(verb, key)
            self.acts.append((verb, key))

    def put(self, key: str, data: bytes, headers: Mapping[str, str]) -> None:
        """See ObjectStore."""
        self._act("put", key)
        self.objects[key] = (data, headers)

    def get(self, key: str) -> bytes | None:
        """See ObjectStore."""
        self._act("get", key)
        found = self.objects.get(key)
        return found[0] if found is not None else None

    def head(self, key: str) -> Held | None:
        """See ObjectStore."""
        self._act("head", key)
        return self._hold(key) if key in self.objects else None

    def delete(self, keys: Collection[str]) -> None:
        """See ObjectStore."""
        for key in sorted(keys):
            self._act("delete", key)
            self.objects.pop(key, None)

    def list_below(self, folder: str) -> Iterator[Held]:
        """See ObjectStore."""
        self._act("list", folder)
        yield from [self._hold(key) for key in self.objects if key.startswith(folder)]

    def list_top(self) -> tuple[list[str], list[str]]:
        """See ObjectStore."""
        self._act("list", "")
        folders = {key.partition("/")[0] + "/" for key in self.objects if "/" in key}
        return sorted(folders), [key for key in self.objects if "/" not in key]

    def _hold(self, key: str) -> Held:
        data, _headers = self.objects[key]
        return Held(key, len(data), tag_of(data), self.keeps_versions)

    def puts(self) -> list[str]:
        """Return the keys that were put since, in order, and forget them."""
        found = [key for verb, key in self.acts if verb == "put"]
        self.acts.clear()
        return found

    def be_away(self) -> None:
        """Refuse everything from now on."""

        def refuse(_verb: str, _key: str) -> None:
            raise StoreAway("nobody answers")

        self.trouble = refuse

    def come_back(self) -> None:
        """Take everything again."""
        self.trouble = lambda _verb, _key: None
