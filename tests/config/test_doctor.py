"""The doctor: what is unsafe, each finding once and for its reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from tests.factories.instances import HOST, Instance
from undersigned.cli.control import ControlServer
from undersigned.config.doctor import examine
from undersigned.config.env import read_environment
from undersigned.config.front_doctor import judge_arrivals
from undersigned.drills.small_log import SmallLog
from undersigned.kernel import keystore
from undersigned.kernel.keystore import Keystore
from undersigned.safety.arrivals import Arrivals
from undersigned.witness.key import WitnessKey
from undersigned.witness.operations import (
    ConsistencyNotProven,
    CosignedOtherwise,
    cosign_checkpoint,
    trust_log,
)
from undersigned.witness.policy import add_witness, set_quorum

PASSPHRASE = "nine lives of the river path"


def find(instance: Instance, **changes: str) -> dict[str, str]:
    """Return levels by code, for the instance's settings with some changes."""
    environ = {
        **instance.environ,
        **{f"UNDERSIGNED_{name}": value for name, value in changes.items()},
    }
    findings = examine(read_environment(environ))
    levels = {finding.code: finding.level for finding in findings}
    assert len(levels) == len(findings), "a finding stands twice"
    assert set(levels.values()) <= {"ok", "note", "warning", "danger"}
    return levels


class TestTheDataDirectory:
    def test_a_private_one_is_fine(self, instance: Instance) -> None:
        instance.open_campaign()
        assert find(instance)["data-private"] == "ok"

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "secrets",
            "issuance",
            pytest.param("ledger.sqlite3", marks=pytest.mark.sqlite_file),
            "secrets/{path}/log.key",
        ],
    )
    def test_one_that_others_can_read_is_dangerous(
        self, instance: Instance, name: str
    ) -> None:
        campaign = instance.open_campaign()
        path = instance.data / name.format(path=campaign.path)
        old = path.stat().st_mode
        path.chmod(0o755)
        found = find(instance)
        path.chmod(old)
        assert found["data-readable"] == "danger"
        assert "data-private" not in found
        assert "data-readable" not in find(instance)

    def test_public_files_may_be_read(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        (instance.folder(campaign) / "checkpoint").chmod(0o644)
        assert find(instance)["data-private"] == "ok"

    def test_a_nearly_full_disk_is_a_warning(
        self, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "disk-nearly-full" not in find(instance)
        monkeypatch.setattr("undersigned.config.doctor.LEAST_FREE_BYTES", 1 << 60)
        assert find(instance)["disk-nearly-full"] == "warning"


class TestSecrets:
    def test_unsealed_ones_are_a_warning_in_production(
        self, instance: Instance
    ) -> None:
        assert find(instance)["keys-unsealed"] == "note"
        assert find(instance, MODE="production")["keys-unsealed"] == "warning"

    def test_sealed_ones_are_fine_with_a_passphrase(
        self, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
        Keystore(instance.data / "secrets").seal(PASSPHRASE)
        found = find(instance, PASSPHRASE=PASSPHRASE)
        assert found["keys-sealed"] == "ok"
        assert "passphrase-missing" not in found
        assert find(instance)["passphrase-missing"] == "warning"

    def test_unsealed_ones_are_dangerous_with_a_campaign_in_danger(
        self, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance.open_campaign()
        assert "danger-unsealed" not in find(instance)
        closes_on = (instance.clock.now() + timedelta(days=9)).date()
        instance.open(
            instance.create(mode="danger", classes=["invitation"], closes_on=closes_on),
            accept_unsealed_keys=True,
        )
        assert find(instance)["danger-unsealed"] == "danger"
        monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
        Keystore(instance.data / "secrets").seal(PASSPHRASE)
        assert "danger-unsealed" not in find(instance)


class TestTheAddress:
    def test_https_is_fine(self, instance: Instance) -> None:
        found = find(instance)
        assert found["https"] == "ok"
        assert not {"plain-http", "http-local", "listens-widely"} & set(found)

    def test_plain_http_on_this_machine_is_a_note(self, instance: Instance) -> None:
        found = find(instance, BASE_URL="http://localhost:8000")
        assert found["http-local"] == "note"

    def test_plain_http_elsewhere_is_dangerous(self, instance: Instance) -> None:
        found = find(instance, BASE_URL=f"http://{HOST}")
        assert found["plain-http"] == "danger"

    @pytest.mark.parametrize("bind", ["0.0.0.0:8000", "192.168.1.5:80", "[::]:8000"])
    def test_listening_widely_without_tls_is_dangerous(
        self, instance: Instance, bind: str
    ) -> None:
        url = "http://localhost:8000"
        assert find(instance, BASE_URL=url, BIND=bind)["listens-widely"] == "danger"
        assert "listens-widely" not in find(instance, BIND=bind)

    def test_another_host_than_the_logs_is_a_note(self, instance: Instance) -> None:
        assert "host-differs" not in find(instance)
        found = find(instance, BASE_URL="https://www.undersigned.example")
        assert found["host-differs"] == "note"

    def test_a_host_that_changed_under_a_campaign_is_dangerous(
        self, instance: Instance
    ) -> None:
        instance.create()
        assert "host-changed" not in find(instance, HOST="other.example")
        instance.open_campaign()
        assert "host-changed" not in find(instance)
        assert find(instance, HOST="other.example")["host-changed"] == "danger"


class TestWhatStandsInFront:
    HTTPS: ClassVar[dict[str, str]] = {
        "BASE_URL": "https://petitions.example",
        "TRUSTED_PROXY": "127.0.0.1",
    }

    @pytest.mark.parametrize("bind", ["0.0.0.0:8000", "10.0.0.5:8000", "[::]:8000"])
    def test_a_listener_beside_the_proxy_is_a_warning(
        self, instance: Instance, bind: str
    ) -> None:
        found = find(instance, BIND=bind, **self.HTTPS)
        assert found["listens-beside-proxy"] == "warning"
        assert "listens-beside-proxy" not in find(instance, **self.HTTPS)

    @pytest.mark.parametrize(
        "trusted", ["*", "0.0.0.0/0", "127.0.0.1, 10.0.0.0/8", "::/0", "fd00::/48"]
    )
    def test_trusting_everybody_is_dangerous(
        self, instance: Instance, trusted: str
    ) -> None:
        found = find(instance, TRUSTED_PROXY=trusted)
        assert found["proxy-trust-wide"] == "danger"

    @pytest.mark.parametrize(
        "trusted", ["127.0.0.1", "10.0.0.5,10.0.0.6", "10.1.2.0/28", "::1"]
    )
    def test_trusting_a_proxy_is_not(self, instance: Instance, trusted: str) -> None:
        found = find(instance, TRUSTED_PROXY=trusted)
        assert not {"proxy-trust-wide", "proxy-trust-unknown"} & set(found)

    @pytest.mark.parametrize("trusted", ["localhost", "nginx", "10.0.0.5/40", "1,"])
    def test_a_name_is_no_address(self, instance: Instance, trusted: str) -> None:
        found = find(instance, TRUSTED_PROXY=trusted)
        assert found["proxy-trust-unknown"] == "warning"

    @pytest.mark.parametrize(
        "arrived,changes,code,level",
        [
            ({"not_believed": 3}, {}, "forwarded-not-believed", "warning"),
            ({"direct": 3}, {}, "came-past-proxy", "warning"),
            ({"direct": 3, "believed": 9}, {}, "came-past-proxy", "note"),
            (
                {"direct": 3, "believed": 9},
                {"BIND": "10.0.0.5:8000"},
                "came-past-proxy",
                "warning",
            ),
            ({"plain": 3, "believed": 9}, {}, "proxy-says-no-https", "warning"),
        ],
    )
    def test_what_arrives_is_compared_with_the_settings(
        self,
        instance: Instance,
        arrived: dict[str, int],
        changes: dict[str, str],
        code: str,
        level: str,
    ) -> None:
        arrivals = Arrivals(**arrived)
        changed = {**self.HTTPS, **changes}
        environ = {f"UNDERSIGNED_{name}": value for name, value in changed.items()}
        environment = read_environment({**instance.environ, **environ})
        found = judge_arrivals(environment, arrivals.as_json())
        assert [(each.code, each.level) for each in found] == [(code, level)]
        for good in (Arrivals(), Arrivals(believed=9)):
            assert list(judge_arrivals(environment, good.as_json())) == []

    def test_the_running_server_is_asked(self, instance: Instance) -> None:
        assert "forwarded-not-believed" not in find(instance)
        instance.engine.services.arrivals.note(
            client="203.0.113.7", forwarded="198.51.100.1", scheme="http"
        )
        server = ControlServer(instance.data / "control.sock", instance.engine)
        server.start()
        try:
            assert find(instance)["forwarded-not-believed"] == "warning"
        finally:
            server.stop()
        assert "forwarded-not-believed" not in find(instance)


class TestMail:
    @pytest.mark.parametrize(
        "url, code, level",
        [
            ("smtps://mail.example", "mail-encrypted", "ok"),
            ("smtp+starttls://mail.example", "mail-encrypted", "ok"),
            ("smtp://mail.example", "mail-in-clear", "danger"),
            ("smtp://localhost", "local-mail-server", "warning"),
            ("smtps://127.0.0.1", "local-mail-server", "warning"),
        ],
    )
    def test_its_way_is_judged(
        self, instance: Instance, url: str, code: str, level: str
    ) -> None:
        assert find(instance, SMTP_URL=url)[code] == level

    def test_none_is_a_warning_in_production(self, instance: Instance) -> None:
        assert find(instance)["mailbox"] == "note"
        assert find(instance, MODE="production")["no-mail"] == "warning"


class TestTheMachine:
    def test_no_abuse_contact_is_a_warning(self, instance: Instance) -> None:
        assert find(instance)["no-abuse-contact"] == "warning"
        named = find(instance, ABUSE_CONTACT="abuse@undersigned.example")
        assert "no-abuse-contact" not in named

    def test_running_as_root_is_a_warning_in_production(
        self, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 0)
        assert find(instance, MODE="production")["runs-as-root"] == "warning"
        assert "runs-as-root" not in find(instance)
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        assert "runs-as-root" not in find(instance, MODE="production")

    def test_core_dumps_are_noted(
        self, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("resource.getrlimit", lambda _what: (0, 0))
        assert "core-dumps" not in find(instance)
        monkeypatch.setattr("resource.getrlimit", lambda _what: (-1, -1))
        # The server switches its own off; this is about the shell that looks.
        assert find(instance)["core-dumps"] == "note"

    @pytest.mark.parametrize(
        "hard, warned", [(1_024, True), (65_536, False), (-1, False)]
    )
    def test_few_files_are_a_warning(
        self,
        instance: Instance,
        monkeypatch: pytest.MonkeyPatch,
        hard: int,
        warned: bool,
    ) -> None:
        monkeypatch.setattr("resource.getrlimit", lambda _what: (1_024, hard))
        assert ("few-files" in find(instance)) is warned

    @pytest.mark.parametrize(
        "swaps, warned",
        [
            ("Filename Type Size\n", False),
            ("Filename Type Size\n/dev/sda2 partition 1\n", True),
            ("Filename Type Size\n/dev/zram0 partition 1\n", False),
        ],
    )
    def test_swap_on_a_disk_is_a_warning(
        self,
        instance: Instance,
        swaps: str,
        warned: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real = Path.read_text

        def read_text(self: Path, *arguments: str, **named: str) -> str:
            if str(self) == "/proc/swaps":
                return swaps
            return real(self, *arguments, **named)

        monkeypatch.setattr(Path, "read_text", read_text)
        assert ("swap" in find(instance)) is warned


def test_it_changes_nothing(instance: Instance) -> None:
    instance.open_campaign()
    before = {
        str(path): path.read_bytes()
        for path in instance.data.rglob("*")
        if path.is_file()
    }
    find(instance)
    assert before == {
        str(path): path.read_bytes()
        for path in instance.data.rglob("*")
        if path.is_file()
    }


class TestWitnessing:
    @pytest.fixture
    def spine(self, instance: Instance) -> SmallLog:
        """A friend's spine, cosigned here at five leaves."""
        log = SmallLog("omar.example/spine")
        log.append(5)
        witness = instance.engine.witnessing.witness
        trust_log(witness=witness, vkey=log.vkey)
        self.ask(instance, log.ask(0))
        return log

    def ask(self, instance: Instance, body: bytes) -> None:
        cosign_checkpoint(
            witness=instance.engine.witnessing.witness,
            body=body,
            at=instance.clock.now(),
        )

    def test_an_honest_log_is_no_finding(
        self, instance: Instance, spine: SmallLog
    ) -> None:
        assert not {code for code in find(instance) if code.startswith("witness")}

    def test_a_fork_is_dangerous(self, instance: Instance, spine: SmallLog) -> None:
        fork = spine.fork(3)
        fork.append(2, salt=b"fork")
        with pytest.raises(CosignedOtherwise):
            self.ask(instance, fork.ask(5))
        assert find(instance)["witness-fork"] == "danger"

    def test_a_proof_that_does_not_verify_is_a_warning(
        self, instance: Instance, spine: SmallLog
    ) -> None:
        fork = spine.fork(3)
        fork.append(4, salt=b"fork")
        with pytest.raises(ConsistencyNotProven):
            self.ask(instance, fork.ask(5))
        assert find(instance)["witness-unproven"] == "warning"

    def test_a_log_that_remembers_more_is_a_warning(
        self, instance: Instance, spine: SmallLog
    ) -> None:
        spine.append(2)
        with pytest.raises(CosignedOtherwise):
            self.ask(instance, spine.ask(7, 7))
        assert find(instance)["witness-claimed"] == "warning"

    def test_a_state_from_a_copy_is_dangerous(
        self, instance: Instance, spine: SmallLog
    ) -> None:
        old = (instance.data / "witness.sqlite3").read_bytes()
        spine.append(1)
        self.ask(instance, spine.ask(5))
        (instance.data / "witness.sqlite3").write_bytes(old)
        assert find(instance)["witness-state-lost"] == "danger"

    def test_a_time_to_come_is_a_warning(
        self, instance: Instance, spine: SmallLog
    ) -> None:
        instance.clock.set(datetime(2999, 1, 1, tzinfo=UTC))
        self.ask(instance, spine.ask(5))
        assert find(instance)["witness-clock"] == "warning"

    def test_who_cosigns_us_is_said(self, instance: Instance) -> None:
        assert find(instance, MODE="production")["no-witnesses"] == "note"
        add_witness(
            folder=instance.data,
            host=HOST,
            vkey=WitnessKey("petra.example/witness", bytes(32)).vkey,
            url="https://petra.example/witness",
        )
        assert find(instance)["witnessed"] == "ok"
        set_quorum(folder=instance.data, quorum="none")
        assert find(instance)["no-quorum"] == "note"
        (instance.data / "witnesses.json").write_text("{")
        assert find(instance)["witness-damaged"] == "danger"
