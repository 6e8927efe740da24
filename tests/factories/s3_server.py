"""A program: OpenStack Swift with its S3 API, all of it in one process.

    python s3_server.py FOLDER BUCKET KEY_ID SECRET PORT

Swift's own servers of accounts, containers and objects lie on ports that the system
chooses; the proxy in front of them, which speaks S3 and checks signatures, on PORT (0:
any). The bucket may be read by anybody, as one behind a CDN, at ``/v1/AUTH_…/BUCKET``.
Prints the port once all answer.
"""

from __future__ import annotations

import warnings

# Eventlet says of itself that it is old; Swift is written for it.
warnings.simplefilter("ignore")

import eventlet  # noqa: E402 - after patching

eventlet.monkey_patch()

import logging  # noqa: E402 - after patching
import sys  # noqa: E402 - after patching
from pathlib import Path  # noqa: E402 - after patching
from typing import Any  # noqa: E402 - after patching

from eventlet import wsgi  # noqa: E402 - after patching
from swift.common import utils  # noqa: E402 - after patching
from swift.common.internal_client import InternalClient  # noqa: E402 - after patching
from swift.common.ring import RingBuilder  # noqa: E402 - after patching
from swift.common.wsgi import loadapp  # noqa: E402 - after patching

HOST = "127.0.0.1"
KINDS = ("account", "container", "object")
PIPELINE = (
    "catch_errors gatekeeper listing_formats etag_quoter bulk s3api tempauth copy slo "
    "proxy-server"
)
BARE = "catch_errors proxy-server"


class Owned:
    """Swift's proxy for the owner of everything: who may make a bucket public."""

    def __init__(self, app: Any) -> None:
        self.app, self._pipeline_final_app = app, app._pipeline_final_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["swift_owner"] = True
        return self.app(environ, start_response)


def describe(name: str) -> str:
    """Return the part of a configuration that names one filter."""
    more = {
        "etag_quoter": "enable_by_default = true\n",
        "s3api": "location = us-east-1\n",
    }
    return f"[filter:{name}]\nuse = egg:swift#{name}\n{more.get(name, '')}"


def main(folder: str, bucket: str, key_id: str, secret: str, port: str) -> None:
    root = Path(folder)
    etc = root / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (root / "devices" / "one").mkdir(parents=True, exist_ok=True)
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
    )
    utils.set_swift_dir(str(etc))
    sockets = {kind: eventlet.listen((HOST, 0)) for kind in KINDS}
    front = eventlet.listen((HOST, int(port)))
    for kind, found in sockets.items():
        write_ring(etc / f"{kind}.ring.gz", found.getsockname()[1])
    common = (
        f"[DEFAULT]\nbind_ip = {HOST}\nbind_port = 0\nswift_dir = {etc}\n"
        f"devices = {root}/devices\nmount_check = false\nlog_level = CRITICAL\n"
        f"log_address = {root}/no-log\n"
    )
    quiet = logging.getLogger("quiet")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False

    def load(name: str, text: str) -> Any:
        file = etc / f"{name}.conf"
        file.write_text(common + text)
        return loadapp(str(file), global_conf={"__file__": str(file)})

    for kind, found in sockets.items():
        app = load(
            kind,
            f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\n"
            f"use = egg:swift#{kind}\nrecon_cache_path = {root}\n",
        )
        eventlet.spawn(wsgi.server, found, app, quiet, log_output=False)
    account, _colon, user = key_id.partition(":")
    parts = "".join(
        describe(name)
        for name in PIPELINE.split()
        if name not in ("proxy-server", "tempauth")
    )
    parts += (
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        f"[filter:tempauth]\nuse = egg:swift#tempauth\nuser_{account}_{user} = "
        f"{secret} .admin\n"
    )
    app = load("proxy", f"[pipeline:main]\npipeline = {PIPELINE}\n{parts}")
    bare = load("bare", f"[pipeline:main]\npipeline = {BARE}\n{parts}")
    client = InternalClient(None, "tests", 3, app=Owned(bare))
    client.create_container(f"AUTH_{account}", bucket)
    client.set_container_metadata(
        f"AUTH_{account}", bucket, {"X-Container-Read": ".r:*"}
    )
    print(front.getsockname()[1], flush=True)
    wsgi.server(front, app, quiet, log_output=False)


def write_ring(path: Path, port: int) -> None:
    """Write that everything of a kind lies with the one server on ``port``."""
    builder = RingBuilder(2, 1, 0)
    builder.add_dev(
        {
            "region": 1,
            "zone": 1,
            "ip": HOST,
            "port": port,
            "replication_ip": HOST,
            "replication_port": port,
            "device": "one",
            "weight": 1.0,
        }
    )
    builder.rebalance()
    builder.get_ring().save(str(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
