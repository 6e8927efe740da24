"""nginx in front of a server under measurement, as docs/operate/nginx.md has it.

Without TLS: what a handshake or a cipher costs is nobody's question here.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from bench import _programs
from bench._instance import WORK, Running
from bench._machine import ROOT
from undersigned.drills.ports import find_port


def is_there() -> bool:
    """Say whether nginx is installed."""
    return shutil.which("nginx") is not None


def _adapt(text: str, server: Running, port: int) -> str:
    """Return the document's configuration for this server, on one plain port.

    Raises NotStarted where the document has changed so that a place is not found.
    """
    # The one server that serves; those that only lead to it, or refuse, are left out.
    text = text[: text.index("    server {\n        listen 80;")] + "}\n"
    temporary = "".join(
        f"    {name}_temp_path {WORK}/nginx-{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for old, new in {
        "user www-data;": "user root;" if os.geteuid() == 0 else "",
        "pid /run/nginx.pid;": f"pid {WORK}/nginx.pid;",
        "worker_processes auto;": "worker_processes 1;",
        "worker_rlimit_nofile 262144;": "",
        "worker_connections 65536;": "worker_connections 4096;",
        "/var/log/nginx/error.log": f"{WORK}/nginx-error.log",
        "\nhttp {\n": f"\nhttp {{\n{temporary}",
        "/srv/undersigned/": f"{server.data}/",
        "listen 443 ssl http2;": f"listen {_programs.HOST}:{port} default_server;",
        "server 127.0.0.1:8000;": f"server {_programs.HOST}:{server.port};",
    }.items():
        if old not in text:
            raise _programs.NotStarted(f"docs/operate/nginx.md has no {old!r}")
        text = text.replace(old, new)
    return re.sub(r" *ssl_certificate(?:_key)? .*\n", "", text)


@contextmanager
def front(server: Running) -> Iterator[Running]:
    """Run nginx in front of ``server``; yield it with nginx's process and port."""
    text = (ROOT / "docs" / "operate" / "nginx.md").read_text("utf-8")
    (found,) = re.findall(r"^```nginx\n(.*?)^```$", text, re.M | re.S)
    port = find_port()
    configuration = WORK / "nginx.conf"
    configuration.write_text(_adapt(found, server, port), "utf-8")
    command = ["nginx", "-p", str(WORK), "-c", str(configuration), "-g", "daemon off;"]
    environment = _programs.make_environment()
    said = WORK / "nginx.txt"
    with _programs.start(command, environment, port=port, said=said) as pid:
        yield Running(pid, port, server.data)
