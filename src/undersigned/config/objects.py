"""Putting public files into an object store: how, and what the doctor says of it."""

from __future__ import annotations

from collections.abc import Iterator

from undersigned.cli.context import Finding
from undersigned.config.env import Environment, ObjectsAddress
from undersigned.web.objects.carrier import Carrier
from undersigned.web.objects.layout import (
    MARK,
    address_of_key,
    list_logs,
    make_mark,
    parse_checkpoint,
)
from undersigned.web.objects.logs import LogContradicted, find_agreed, tag_of
from undersigned.web.objects.pages import list_placed
from undersigned.web.objects.store import ObjectStore, StoreAway
from undersigned.web.public.kept import shows_signers
from undersigned.web.rendered.renderer import Renderer
from undersigned.web.rendered.store import FolderStore


def open_store(address: ObjectsAddress) -> ObjectStore:
    """Return the store; nothing is sent yet."""
    # In the extra `scale`, which most do without.
    from undersigned.web.objects.s3 import S3Store

    return S3Store(
        endpoint=address.endpoint,
        bucket=address.bucket,
        prefix=address.prefix,
        region=address.region,
        key_id=address.key_id,
        secret=address.secret,
    )


def make_carrier(
    environment: Environment, pages: FolderStore, renderer: Renderer
) -> Carrier | None:
    """Return what carries to the object store, where there is one; not started."""
    if environment.object_store is None:
        return None
    carrier = Carrier(
        open_store(environment.object_store),
        host=environment.host,
        public=environment.public,
        pages=pages,
        list_pages=lambda: renderer.pages,
        shows_signers=shows_signers,
    )
    pages.on_changed = carrier.note_page
    return carrier


def examine_objects(environment: Environment) -> Iterator[Finding]:
    """Ask the object store, and compare; nothing where there is none."""
    address = environment.object_store
    if address is None:
        return
    if not address.is_private:
        yield Finding(
            "danger",
            "objects-in-clear",
            f"public files go to {address.endpoint} unencrypted: whoever sits on the "
            "way can change what readers get; use https",
        )
    try:
        yield from _compare(environment, open_store(address))
    except StoreAway as error:
        yield Finding(
            "warning",
            "objects-away",
            f"the object store cannot be used: {error}. Its readers see an older "
            "state; signing goes on, and it catches up by itself",
        )


def _compare(environment: Environment, store: ObjectStore) -> Iterator[Finding]:
    mark = store.head(MARK)
    if mark is None:
        yield Finding(
            "warning",
            "objects-unused",
            f"nothing was put into the object store yet, or there is no {MARK} in it: "
            "it is filled while the server runs, if it is empty",
        )
        return
    if store.get(MARK) != make_mark(environment.host):
        yield Finding(
            "danger",
            "objects-not-ours",
            f"{MARK} in the object store names another instance: nothing is put there",
        )
        return
    if mark.keeps_versions:
        yield Finding(
            "danger",
            "objects-keep-versions",
            "the object store keeps versions of what is replaced or deleted: what "
            "signers erase stays there. Switch versioning off",
        )
    level = True
    for finding in (
        *_compare_logs(environment, store),
        *_compare_pages(environment, store),
    ):
        level = False
        yield finding
    if level:
        yield Finding(
            "ok", "objects-level", "the object store holds all that lies here"
        )


def _compare_logs(environment: Environment, store: ObjectStore) -> Iterator[Finding]:
    behind = []
    for path in list_logs(environment.public):
        here = parse_checkpoint((environment.public / path / "checkpoint").read_bytes())
        if here is None:
            continue
        try:
            there = find_agreed(store, environment.public, path, here.size)
        except LogContradicted as error:
            yield Finding("danger", "objects-contradict", f"{path}: {error}")
            continue
        if there != here.size:
            behind.append(f"{path} at {there} of {here.size} leaves")
    if behind:
        yield Finding(
            "warning",
            "objects-behind",
            f"the object store is behind in {len(behind)} logs: "
            f"{'; '.join(behind[:5])}. Is the server running?",
        )


def _compare_pages(environment: Environment, store: ObjectStore) -> Iterator[Finding]:
    folder = FolderStore(environment.data / "pages")
    here = {}
    for address in folder.list_addresses():
        try:
            here[address] = tag_of(folder.find_file(address).read_bytes())
        except FileNotFoundError:
            # Removed meanwhile.
            continue
    there = {address_of_key(held.key): held.tag for held in list_placed(store)}
    differing = {
        one for one in here.keys() | there.keys() if here.get(one) != there.get(one)
    }
    erased = sorted(one for one in differing & there.keys() if shows_signers(one))
    if erased:
        yield Finding(
            "danger",
            "objects-show-erased",
            f"{len(erased)} pages in the object store may show what signers have "
            f"erased, {erased[0]} first: start the server, or delete them there",
        )
    if differing:
        yield Finding(
            "warning",
            "objects-pages-behind",
            f"{len(differing)} pages in the object store are not as they are here, "
            f"{min(differing)} first",
        )
