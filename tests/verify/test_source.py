"""Reading logs from folders and addresses."""

import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from undersigned_verify.audit import audit_log
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.opening import open_header, read_tiles
from undersigned_verify.source import (
    DirectorySource,
    HTTPSource,
    find_log,
    find_logs,
)
from undersigned_verify.tile import encode_bundle, parse_bundle

from tests.verify.building import LogBuilder, write


class Server(ThreadingHTTPServer):
    """Serves files from memory, with a hook before each answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        # Status and headers to send instead of a file, by path; used up one by one.
        self.failures: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.before: Callable[[str], None] = lambda path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(self.path)
        server.before(self.path)
        failures = server.failures.get(self.path)
        if failures:
            status, headers = failures.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            return
        data = server.files.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("undersigned_verify.source.time.sleep", lambda seconds: None)
    # A proxy named in the environment would be asked for loopback as well.
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def river(log: LogBuilder) -> LogBuilder:
    for name in ("asha", "noor", "mei"):
        log.sign(name).publish()
    return log


def publish(server: Server, log: LogBuilder, prefix: str = "") -> str:
    """Put a log's files on the server; return the log's address."""
    for path, data in log.files().items():
        server.files[f"{prefix}/{log.path}/{path}"] = data
    return f"{server.url}{prefix}/{log.path}"


class TestHTTP:
    def test_a_log_is_audited(self, server: Server, river: LogBuilder) -> None:
        report = audit_log(publish(server, river), workers=1)
        assert report.fault is None
        assert report.path == "c/river"
        assert report.checkpoints == len(river.kept)

    @pytest.mark.parametrize("prefix", ["", "/mirror/one"])
    def test_of_a_root_the_log_is_named(
        self, server: Server, river: LogBuilder, prefix: str
    ) -> None:
        publish(server, river, prefix)
        (found,) = find_logs(f"{server.url}{prefix}/", "c/river")
        assert audit_log(found, workers=1).accepted

    def test_a_fault_is_named(self, server: Server, river: LogBuilder) -> None:
        url = publish(server, river)
        server.files["/c/river/tile/0/000.p/9"] += b"\0"
        fault = audit_log(url, workers=1).fault
        assert fault is not None
        assert (fault.code, fault.path) == ("tile-trailing", "tile/0/000.p/9")

    def test_checkpoints_are_listed_by_growth_csv(
        self, server: Server, river: LogBuilder
    ) -> None:
        url = publish(server, river)
        assert list(HTTPSource(url).list_kept(9)) == river.kept
        assert list(HTTPSource(url).list_kept(8)) == river.kept[:-1]
        # What it leaves out makes the rules stricter: one interval of three leaves.
        server.files["/c/river/growth.csv"] = b"size,net,at\n6,,\n"
        fault = audit_log(url, workers=1).fault
        assert fault is None or fault.code == "order-in-interval"
        # What it invents has no signed checkpoint.
        server.files["/c/river/growth.csv"] = b"size,net,at\n5,,\n6,,\n7,,\n8,,\n9,,\n"
        fault = audit_log(url, workers=1).fault
        assert fault is not None
        assert (fault.code, fault.path) == ("file-missing", "checkpoints/5")

    def test_a_list_that_lags_is_asked_for_again(
        self, server: Server, river: LogBuilder
    ) -> None:
        url = publish(server, river)
        whole = server.files["/c/river/growth.csv"]
        server.files["/c/river/growth.csv"] = whole.rpartition(b"9,")[0]

        def catch_up(path: str) -> None:
            if server.asked.count("/c/river/growth.csv") == 2:
                server.files["/c/river/growth.csv"] = whole

        server.before = catch_up
        assert audit_log(url, workers=1).accepted
        assert server.asked.count("/c/river/growth.csv") == 2

    def test_a_list_that_never_comes_is_done_without(
        self, server: Server, river: LogBuilder
    ) -> None:
        url = publish(server, river)
        server.files["/c/river/growth.csv"] = b"size,net,at\n6,,\n7,,\n8,,\n"
        assert audit_log(url, workers=1).accepted

    @pytest.mark.parametrize("data", [None, b"size,net,at\nx,,\n", b"size\n\xff\n"])
    def test_without_a_list_it_is_unreadable(
        self, server: Server, river: LogBuilder, data: bytes | None
    ) -> None:
        url = publish(server, river)
        del server.files["/c/river/growth.csv"]
        if data is not None:
            server.files["/c/river/growth.csv"] = data
        with pytest.raises(Unreadable, match=r"growth\.csv"):
            audit_log(url, workers=1)

    def test_a_server_may_publish_meanwhile(
        self, server: Server, river: LogBuilder
    ) -> None:
        url = publish(server, river)
        before = len(river.leaves)

        def grow(path: str) -> None:
            # After the checkpoint was read, the log grows and drops what is partial.
            if path == "/c/river/statement" and len(river.leaves) == before:
                river.sign(*(f"s{i}" for i in range(260))).publish()
                for old in ("entries/000.p/9", "0/000.p/9"):
                    del server.files[f"/c/river/tile/{old}"]
                publish(server, river)

        # Asked for after the header's bundle, which is read as it was.
        server.before = grow
        report = audit_log(url, workers=1)
        assert report.fault is None
        assert report.tree_size == before

    def test_redirects_stay_on_the_host(
        self, server: Server, river: LogBuilder
    ) -> None:
        url = publish(server, river)
        server.files["/elsewhere"] = server.files["/c/river/log.vkey"]
        for target in ("/elsewhere", f"{server.url}/elsewhere"):
            server.failures["/c/river/log.vkey"] = [(302, {"Location": target})]
            assert audit_log(url, workers=1).accepted
        for target in ("http://other.example/x", "https://127.0.0.1/x", "//a/x"):
            server.failures["/c/river/log.vkey"] = [(302, {"Location": target})]
            with pytest.raises(Unreadable, match="another host"):
                audit_log(url, workers=1)

    def test_a_busy_server_is_asked_again(
        self, server: Server, river: LogBuilder
    ) -> None:
        url = publish(server, river)
        server.failures["/c/river/log.vkey"] = [(503, {}), (429, {})]
        assert audit_log(url, workers=1).accepted
        server.failures["/c/river/log.vkey"] = [(503, {})] * 3
        with pytest.raises(Unreadable, match="status 503"):
            audit_log(url, workers=1)
        server.failures["/c/river/log.vkey"] = [(403, {})]
        with pytest.raises(Unreadable, match="status 403"):
            audit_log(url, workers=1)
        server.failures["/c/river/statement"] = [(410, {})]
        fault = audit_log(url, workers=1).fault
        assert fault is not None
        assert (fault.code, fault.path) == ("file-missing", "statement")

    def test_a_huge_answer_is_cut_short(
        self, server: Server, river: LogBuilder
    ) -> None:
        url = publish(server, river)
        server.files["/c/river/checkpoint"] = bytes(300_000)
        fault = audit_log(url, workers=1).fault
        assert fault is not None
        assert (fault.code, fault.path) == ("file-too-large", "checkpoint")

    def test_nobody_answers(self) -> None:
        with pytest.raises(Unreadable, match="refused"):
            audit_log("http://127.0.0.1:9/c/river", workers=1)

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://example.org/c/river",
            "file:///etc/c/river",
            "http:///c/river",
            "http://example.org/c/river?x=1",
            "http://example.org/c/river#x",
            "http://asha@example.org/c/river",
            "http://example.org/",
            "http://example.org/river",
            "http://example.org/c/river/1",
        ],
    )
    def test_an_address_is_plain_and_of_a_log(self, url: str) -> None:
        with pytest.raises(Unreadable):
            find_logs(url)


class TestFinding:
    def test_a_root_holds_logs_and_their_versions(
        self, tmp_path: Path, river: LogBuilder
    ) -> None:
        for path in ("c/river", "c/river/2", "c/lake/10", "c/lake"):
            write(tmp_path / path / "checkpoint", b"")
        for path in (
            "c/empty/x",
            "c/river/tile/0/000",
            "c/river/1/checkpoint",
            "c/file",
        ):
            write(tmp_path / path, b"")
        write(tmp_path / "c/.hidden/checkpoint", b"")
        found = [log.path for log in find_logs(str(tmp_path))]
        assert found == ["c/lake", "c/lake/10", "c/river", "c/river/2"]
        (named,) = find_logs(str(tmp_path), "c/river/2")
        assert named.name == str(tmp_path / "c/river/2")
        (own,) = find_logs(str(tmp_path / "c/river"))
        assert own.path is None

    def test_a_log_without_its_checkpoint_is_not_passed_over(
        self, tmp_path: Path, river: LogBuilder
    ) -> None:
        river.export(tmp_path)
        (tmp_path / "c/river/checkpoint").unlink()
        (found,) = find_logs(str(tmp_path))
        fault = audit_log(found, workers=1).fault
        assert fault is not None
        assert fault.path == "checkpoint"

    @pytest.mark.parametrize(
        "log", ["c", "river", "c/..", "../c/x", "c/x/1", "c/x/y", ""]
    )
    def test_a_log_is_named_by_its_path(self, tmp_path: Path, log: str) -> None:
        with pytest.raises(Unreadable, match="not the path of a log"):
            find_logs(str(tmp_path), log)

    def test_there_may_be_none(self, tmp_path: Path) -> None:
        with pytest.raises(Unreadable, match="holds no log"):
            find_logs(str(tmp_path))
        (tmp_path / "c").mkdir()
        with pytest.raises(Unreadable, match="holds no log"):
            find_logs(str(tmp_path))
        with pytest.raises(Unreadable, match="has no log"):
            find_logs(str(tmp_path), "c/river")
        with pytest.raises(Unreadable, match="not a folder"):
            find_logs(str(tmp_path / "absent"))

    def test_one_log_is_found_from_its_root_or_its_folder(
        self, tmp_path: Path, river: LogBuilder
    ) -> None:
        river.export(tmp_path)
        for target in (tmp_path, tmp_path / "c/river"):
            assert find_log(str(target), "c/river").name == str(tmp_path / "c/river")
        for url in ("http://h", "http://h/c/river", "http://h/c/river/"):
            assert find_log(url, "c/river").name == "http://h/c/river"


class TestDirectory:
    def test_checkpoints_that_cannot_be_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("undersigned_verify.source.os.scandir", refuse)
        with pytest.raises(Unreadable, match="Permission denied"):
            DirectorySource(tmp_path).list_kept(1)

    def test_a_live_one_may_be_ahead_of_the_checkpoint_that_was_read(
        self, tmp_path: Path
    ) -> None:
        for size in (3, 5, 8):
            write(tmp_path / f"checkpoints/{size}", b"")
        assert list(DirectorySource(tmp_path).list_kept(5)) == [3, 5, 8]
        assert list(DirectorySource(tmp_path, live=True).list_kept(5)) == [3, 5]

    def test_a_live_one_s_full_tile_stands_in_for_a_partial(
        self, tmp_path: Path
    ) -> None:
        leaves = [bytes([i]) for i in range(256)]
        write(tmp_path / "tile/entries/000", encode_bundle(leaves))
        write(tmp_path / "tile/0/000", bytes(8192))
        paths = ["tile/entries/000.p/3", "tile/0/000.p/3", "tile/1/000.p/1"]
        live = DirectorySource(tmp_path, live=True)
        entries, hashes, absent = read_tiles(live, paths)
        assert entries is not None
        assert parse_bundle(entries) == leaves[:3]
        assert hashes == bytes(96)
        assert absent is None
        assert read_tiles(DirectorySource(tmp_path), paths) == [None, None, None]


class TestHeader:
    def test_it_is_proven_to_be_in_the_log(
        self, tmp_path: Path, river: LogBuilder
    ) -> None:
        folder = river.export(tmp_path) / "c/river"
        header, newest = open_header(DirectorySource(folder))
        assert (header, newest.size) == (river.header, 9)
        entries = folder / "tile/entries/000.p/9"
        leaves = parse_bundle(entries.read_bytes())
        for changed, code in (
            ([leaves[0].replace(b"river", b"water"), *leaves[1:]], "proof-root"),
            ([], "header-missing"),
        ):
            entries.write_bytes(encode_bundle(changed))
            with pytest.raises(Fault, match=code):
                open_header(DirectorySource(folder))
        entries.unlink()
        with pytest.raises(Fault, match="file-missing"):
            open_header(DirectorySource(folder))

    @pytest.mark.parametrize("code", ["header-missing", "checkpoint-origin"])
    def test_it_is_this_log_s(
        self, tmp_path: Path, river: LogBuilder, code: str
    ) -> None:
        other = LogBuilder(origin="example.org/c/lake")
        first = river.leaves[1] if code == "header-missing" else other.pending[0]
        river.leaves[0] = first
        folder = river.export(tmp_path, count=b"") / "c/river"
        with pytest.raises(Fault, match=code):
            open_header(DirectorySource(folder))
        shutil.rmtree(folder)
