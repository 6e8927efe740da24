"""Settings: one table, read once, and an error that names what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from undersigned.config.env import (
    SETTINGS,
    ObjectsAddress,
    SettingNotValid,
    parse_objects_url,
    parse_stream_url,
    read_environment,
)
from undersigned.ledger.stream.address import BrokerAddress


def read(**values: str) -> object:
    """Return the settings in an environment, given without their prefix."""
    return read_environment({f"UNDERSIGNED_{k}": v for k, v in values.items()})


class TestTheTable:
    def test_each_row_is_read(self) -> None:
        # A value that stands for itself, in every row at once.
        values = {
            "UNDERSIGNED_DATA": "/srv/data",
            "UNDERSIGNED_DATABASE_URL": "postgresql://omar@/pages",
            "UNDERSIGNED_LEDGER_URL": "postgresql://ledger@/ledger",
            "UNDERSIGNED_HOST": "undersigned.example",
            "UNDERSIGNED_BASE_URL": "https://www.undersigned.example",
            "UNDERSIGNED_MODE": "demo",
            "UNDERSIGNED_OPERATOR": "Omar",
            "UNDERSIGNED_ABUSE_CONTACT": "abuse@undersigned.example",
            "UNDERSIGNED_SMTP_URL": "smtps://mail.example",
            "UNDERSIGNED_MAIL_FROM": "post@undersigned.example",
            "UNDERSIGNED_PASSPHRASE": "nine lives",
            "UNDERSIGNED_BIND": "0.0.0.0:80",
            "UNDERSIGNED_OBJECTS_URL": "https://s3.example:9000/bucket/a/b?region=eu",
            "UNDERSIGNED_OBJECTS_KEY": "id:with:colons:secret",
            "UNDERSIGNED_NODE_SECRET": "known to both, thirty-two and more",
            "UNDERSIGNED_STREAM_URL": "tls://issuer:a%40b@s1,s2:4223,[::1]?ca=/ca.pem",
            "UNDERSIGNED_STREAM_MONITOR": "http://s1:8223, http://s2",
            "UNDERSIGNED_TRUSTED_PROXY": "10.0.0.1",
        }
        of_nodes = {
            "UNDERSIGNED_ISSUER_URL": "http://10.20.0.1:8000/",
            "UNDERSIGNED_INTAKE_URL": "postgresql://intake@/ledger",
        }
        assert {*values, *of_nodes} == {row.name for row in SETTINGS}
        node = read_environment({**of_nodes, "UNDERSIGNED_NODE_SECRET": "s" * 32})
        assert (node.issuer, node.node_secret) == (("10.20.0.1", 8000), "s" * 32)
        assert node.intake is not None
        assert (node.intake.user, node.intake.name) == ("intake", "ledger")
        found = read_environment(values)
        assert found.data == Path("/srv/data")
        assert found.database is not None
        assert found.database.name == "pages"
        assert found.ledger is not None
        assert found.ledger.name == "ledger"
        assert found.public == Path("/srv/data/public")
        assert found.host == "undersigned.example"
        assert found.base_url == "https://www.undersigned.example"
        assert (found.mode, found.operator) == ("demo", "Omar")
        assert found.abuse_contact == "abuse@undersigned.example"
        assert found.smtp_url == "smtps://mail.example"
        assert found.mail_from == "post@undersigned.example"
        assert found.passphrase == "nine lives"
        assert (found.bind_host, found.bind_port) == ("0.0.0.0", 80)  # noqa: S104 - only read
        assert found.trusted_proxy == "10.0.0.1"
        assert found.node_secret == "known to both, thirty-two and more"
        assert (found.issuer, found.intake) == (None, None)
        assert found.stream == BrokerAddress(
            servers=(("s1", 4222), ("s2", 4223), ("::1", 4222)),
            user="issuer",
            password="a@b",
            is_tls=True,
            ca="/ca.pem",
        )
        assert found.stream_monitors == (("s1", 8223), ("s2", 8222))
        assert found.object_store == ObjectsAddress(
            endpoint="https://s3.example:9000",
            bucket="bucket",
            prefix="a/b",
            region="eu",
            key_id="id:with:colons",
            secret="secret",
        )

    def test_each_row_says_what_it_means(self) -> None:
        for row in SETTINGS:
            assert row.meaning.endswith(".")
            assert row.type


class TestDefaults:
    def test_nothing_set_is_a_closed_production_instance(self) -> None:
        found = read_environment({})
        assert found.mode == "production"
        assert found.data == Path("./var").absolute()
        assert found.passphrase is None
        assert found.smtp_url == ""
        assert (found.bind_host, found.bind_port) == ("127.0.0.1", 8000)

    def test_the_senders_address_follows_the_host(self) -> None:
        found = read_environment({"UNDERSIGNED_HOST": "undersigned.example:8443"})
        assert found.mail_from == "no-reply@undersigned.example"

    def test_production_is_reached_under_its_host(self) -> None:
        found = read_environment({"UNDERSIGNED_HOST": "undersigned.example"})
        assert found.base_url == "http://undersigned.example"

    @pytest.mark.parametrize(
        "bind, base_url",
        [
            ("127.0.0.1:8007", "http://localhost:8007"),
            ("192.168.1.5:8000", "http://192.168.1.5:8000"),
            ("[::1]:8000", "http://localhost:8000"),
            ("[fd00::5]:8000", "http://[fd00::5]:8000"),
        ],
    )
    def test_a_newcomer_reaches_it_where_it_listens(
        self, bind: str, base_url: str
    ) -> None:
        found = read_environment(
            {"UNDERSIGNED_MODE": "development", "UNDERSIGNED_BIND": bind}
        )
        assert found.base_url == base_url

    def test_a_host_is_lower_case_and_an_address_has_no_slash(self) -> None:
        found = read_environment(
            {
                "UNDERSIGNED_HOST": " Undersigned.EXAMPLE ",
                "UNDERSIGNED_BASE_URL": "https://undersigned.example/",
            }
        )
        assert found.host == "undersigned.example"
        assert found.base_url == "https://undersigned.example"


class TestABadSetting:
    @pytest.mark.parametrize(
        "name, value",
        [
            ("HOST", "two hosts"),
            ("HOST", "host/path"),
            ("HOST", "hóst.example"),
            ("HOST", "user@host"),
            ("HOST", "host?x"),
            ("HOST", "host+x"),
            ("MODE", "Production"),
            ("MODE", "test"),
            ("BASE_URL", "undersigned.example"),
            ("BASE_URL", "ftp://undersigned.example"),
            ("BASE_URL", "https://"),
            ("BASE_URL", "https://undersigned.example/path"),
            ("BASE_URL", "https://[undersigned"),
            ("BIND", "8000"),
            ("BIND", ":8000"),
            ("BIND", "localhost"),
            ("BIND", "localhost:http"),
            ("BIND", "localhost:65536"),
            ("BIND", "localhost:-1"),
            ("BIND", "localhost:²"),
        ],
    )
    def test_it_is_named(self, name: str, value: str) -> None:
        with pytest.raises(SettingNotValid, match=f"UNDERSIGNED_{name}"):
            read(**{name: value})

    @pytest.mark.parametrize("name", ["DATTA", "data", "SECRET_KEY", "CI_X", ""])
    def test_an_unknown_one_is_named(self, name: str) -> None:
        read(DATA="x")
        with pytest.raises(SettingNotValid, match=f"UNDERSIGNED_{name} is not"):
            read(DATA="x", **{name: "y"})

    def test_what_others_set_is_theirs(self) -> None:
        read_environment({"PATH": "/bin", "DJANGO_SETTINGS_MODULE": "x"})
        read_environment({"UNDERSIGNED_CI": "1"})


class TestTheObjectStore:
    @pytest.mark.parametrize(
        "url, endpoint, bucket, prefix, region, private",
        [
            (
                "https://s3.example/b12",
                "https://s3.example",
                "b12",
                "",
                "us-east-1",
                True,
            ),
            (
                "https://s3.example/b12/",
                "https://s3.example",
                "b12",
                "",
                "us-east-1",
                True,
            ),
            ("http://[::1]:9/b12/x", "http://[::1]:9", "b12", "x", "us-east-1", True),
            ("http://10.0.0.9/b12?region=a", "http://10.0.0.9", "b12", "", "a", False),
        ],
    )
    def test_its_address_says_where_it_is(
        self,
        url: str,
        endpoint: str,
        bucket: str,
        prefix: str,
        region: str,
        private: bool,
    ) -> None:
        found = parse_objects_url(url, "id:secret")
        assert (found.endpoint, found.bucket) == (endpoint, bucket)
        assert (found.prefix, found.region) == (prefix, region)
        assert found.is_private is private
        assert "secret" not in repr(found)

    @pytest.mark.parametrize(
        "url",
        [
            "s3://bucket",
            "https://s3.example",
            "https://s3.example/",
            "https://s3.example/b",
            "https://s3.example/../b12",
            "https://s3.example/b12/../x",
            "https://s3.example/b12/a//b",
            "https://s3.example/b12/%2e%2e/x",
            "https://id:secret@s3.example/b12",
            "https://s3.example/b12#x",
            "https://s3.example/b12?zone=a",
            "https://s3.example/b12?region=a&region=b",
            "https://s3.example:port/b12",
            "https:///b12",
        ],
    )
    def test_one_that_is_none_is_named(self, url: str) -> None:
        with pytest.raises(SettingNotValid, match="UNDERSIGNED_OBJECTS_URL"):
            read(OBJECTS_URL=url, OBJECTS_KEY="id:secret")

    @pytest.mark.parametrize("key", ["", "id", ":secret", "id:", ":"])
    def test_it_needs_a_key_which_is_not_repeated(self, key: str) -> None:
        with pytest.raises(SettingNotValid, match="UNDERSIGNED_OBJECTS_KEY") as caught:
            read(OBJECTS_URL="https://s3.example/b12", OBJECTS_KEY=key)
        assert "secret of" in str(caught.value)


class TestAWebNode:
    NODE: ClassVar[dict[str, str]] = {
        "ISSUER_URL": "http://127.0.0.1:8000",
        "INTAKE_URL": "postgresql://intake@/ledger",
        "NODE_SECRET": "s" * 32,
    }

    def test_it_needs_all_three(self) -> None:
        read(**self.NODE)
        for name in self.NODE:
            with pytest.raises(SettingNotValid, match="UNDERSIGNED_"):
                read(**{key: value for key, value in self.NODE.items() if key != name})

    @pytest.mark.parametrize(
        "name, value",
        [
            ("PASSPHRASE", "nine lives"),
            ("PASSPHRASE_FILE", "/etc/undersigned/passphrase"),
            ("SMTP_URL", "smtps://mail.example"),
            ("DATABASE_URL", "postgresql://pages@/pages"),
            ("LEDGER_URL", "postgresql://ledger@/ledger"),
            ("OBJECTS_URL", "https://s3.example/b12"),
        ],
    )
    def test_it_is_given_nothing_more(self, name: str, value: str) -> None:
        with pytest.raises(SettingNotValid, match="must not be given to a web node"):
            read(**self.NODE, **{name: value})

    @pytest.mark.parametrize(
        "url",
        ["127.0.0.1:8000", "https://issuer", "http://", "http://a:b", "http://a/path"],
    )
    def test_an_address_that_is_none_is_named(self, url: str) -> None:
        with pytest.raises(SettingNotValid, match="UNDERSIGNED_ISSUER_URL must be"):
            read(**{**self.NODE, "ISSUER_URL": url})

    @pytest.mark.parametrize(
        "secret", ["short", "s" * 31, "ä" * 40, "s" * 20 + "\n" * 20]
    )
    def test_a_weak_secret_is_refused_and_not_repeated(self, secret: str) -> None:
        with pytest.raises(SettingNotValid, match="NODE_SECRET must have") as caught:
            read(**{**self.NODE, "NODE_SECRET": secret})
        assert secret not in str(caught.value)
        assert "s" * 32 not in repr(read(**self.NODE))


class TestASecretInAFile:
    def test_it_is_read_without_its_line_end(self, tmp_path: Path) -> None:
        path = tmp_path / "passphrase"
        path.write_text("nine lives\n")
        found = read_environment({"UNDERSIGNED_PASSPHRASE_FILE": str(path)})
        assert found.passphrase == "nine lives"

    def test_it_may_be_any_setting(self, tmp_path: Path) -> None:
        path = tmp_path / "smtp"
        path.write_text("smtps://omar:secret@mail.example\n")
        found = read_environment({"UNDERSIGNED_SMTP_URL_FILE": str(path)})
        assert found.smtp_url == "smtps://omar:secret@mail.example"

    def test_an_empty_one_is_no_passphrase(self, tmp_path: Path) -> None:
        path = tmp_path / "passphrase"
        path.write_text("\n")
        found = read_environment({"UNDERSIGNED_PASSPHRASE_FILE": str(path)})
        assert found.passphrase is None

    @pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
    def test_one_that_cannot_be_read_is_named(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "passphrase"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingNotValid, match="UNDERSIGNED_PASSPHRASE_FILE"):
            read_environment({"UNDERSIGNED_PASSPHRASE_FILE": str(path)})


class TestTheStream:
    @pytest.mark.parametrize(
        "url",
        [
            "s1:4222",
            "http://s1",
            "nats://",
            "nats://s1,",
            "nats://s1:port",
            "nats://s1/stream",
            "nats://s1?ca=/ca.pem",
            "tls://s1?cert=/x",
            "tls://s1?ca",
            "tls://s1#x",
        ],
    )
    def test_what_is_no_address_is_refused_without_being_repeated(
        self, url: str
    ) -> None:
        secret = url.replace("://", "://omar:hidden@", 1)
        with pytest.raises(SettingNotValid) as raised:
            parse_stream_url(secret)
        assert "hidden" not in str(raised.value)

    @pytest.mark.parametrize(
        "url, is_private",
        [
            ("nats://127.0.0.1,localhost:5,[::1]", True),
            ("nats://127.0.0.1,s2", False),
            ("tls://s1,s2", True),
        ],
    )
    def test_only_this_machine_or_tls_is_private(
        self, url: str, *, is_private: bool
    ) -> None:
        address = parse_stream_url(url)
        assert address.is_private is is_private
        assert "hidden" not in repr(parse_stream_url("nats://u:hidden@s1"))

    @pytest.mark.parametrize(
        "values",
        [
            {"NODE_SECRET": "s" * 32},
            {"LEDGER_URL": "postgresql://ledger@/ledger"},
        ],
    )
    def test_it_needs_a_server_behind_it_and_a_secret(
        self, values: dict[str, str]
    ) -> None:
        whole = {
            "NODE_SECRET": "s" * 32,
            "LEDGER_URL": "postgresql://ledger@/ledger",
            "STREAM_URL": "nats://127.0.0.1",
        }
        read(**whole)
        with pytest.raises(SettingNotValid, match="STREAM_URL needs"):
            read(STREAM_URL="nats://127.0.0.1", **values)

    @pytest.mark.parametrize(
        "monitor", ["s1:8222", "https://s1", "http://s1/jsz", "http://", "http://s1:x"]
    )
    def test_a_monitor_is_a_plain_address(self, monitor: str) -> None:
        with pytest.raises(SettingNotValid, match="STREAM_MONITOR"):
            read(STREAM_MONITOR=monitor)
