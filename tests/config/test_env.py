"""Settings: one table, read once, and an error that names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from undersigned.config.env import (
    SETTINGS,
    SettingNotValid,
    read_environment,
)


def read(**values: str) -> object:
    """Return the settings in an environment, given without their prefix."""
    return read_environment({f"UNDERSIGNED_{k}": v for k, v in values.items()})


class TestTheTable:
    def test_each_row_is_read(self) -> None:
        # A value that stands for itself, in every row at once.
        values = {
            "UNDERSIGNED_DATA": "/srv/data",
            "UNDERSIGNED_DATABASE_URL": "postgresql://omar@/pages",
            "UNDERSIGNED_HOST": "undersigned.example",
            "UNDERSIGNED_BASE_URL": "https://www.undersigned.example",
            "UNDERSIGNED_MODE": "demo",
            "UNDERSIGNED_OPERATOR": "Omar",
            "UNDERSIGNED_ABUSE_CONTACT": "abuse@undersigned.example",
            "UNDERSIGNED_SMTP_URL": "smtps://mail.example",
            "UNDERSIGNED_MAIL_FROM": "post@undersigned.example",
            "UNDERSIGNED_PASSPHRASE": "nine lives",
            "UNDERSIGNED_BIND": "0.0.0.0:80",
            "UNDERSIGNED_TRUSTED_PROXY": "10.0.0.1",
        }
        assert set(values) == {row.name for row in SETTINGS}
        found = read_environment(values)
        assert found.data == Path("/srv/data")
        assert found.database is not None
        assert found.database.name == "pages"
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
