"""Fetching, checking and using a receipt without scripts."""

from __future__ import annotations

import base64

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from undersigned_verify.proof import parse_receipt

from tests.factories.instances import Instance, Signed
from tests.factories.signers import show
from tests.web.conftest import Reader, text_of
from undersigned.campaigns.data import Campaign

BASE = "/en/c/soil"


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(id="soil", show_names=True)


@pytest.fixture
def signed(instance: Instance, campaign: Campaign) -> Signed:
    found = instance.sign(campaign, shown=show(name="Asha"))
    instance.publish(campaign)
    return found


def code(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def fetch(reader: Reader, signed: Signed, *, with_w: bool) -> bytes:
    data = {"nonce": code(signed.nonce), "w": code(signed.w) if with_w else ""}
    answer = reader.sends(f"{BASE}/receipt/", data)
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == 'attachment; filename="receipt.tlog-proof"'
    return bytes(answer.content)


def as_file(data: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("receipt.tlog-proof", data)


def test_a_receipt_comes_as_a_file_with_w_where_it_was_kept(
    reader: Reader, signed: Signed
) -> None:
    plain, spine = parse_receipt(fetch(reader, signed, with_w=False))
    full, same_spine = parse_receipt(fetch(reader, signed, with_w=True))
    assert plain.extra is not None
    assert full.extra == plain.extra + signed.w
    assert same_spine == spine


def test_hex_with_blanks_is_taken_too(reader: Reader, signed: Signed) -> None:
    data = {"nonce": f" {signed.nonce.hex()[:32]} {signed.nonce.hex()[32:]} "}
    assert reader.sends(f"{BASE}/receipt/", data).status_code == 200


def test_before_publication_the_page_asks_for_patience(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    waiting = instance.sign(campaign, "vic@example.org")
    page = reader.sends(f"{BASE}/receipt/", {"nonce": code(waiting.nonce)})
    assert page.status_code == 404
    assert page["Retry-After"] == "60"
    assert code(waiting.nonce) in page.content.decode()


def test_half_a_number_is_explained(reader: Reader, signed: Signed) -> None:
    page = reader.sends(f"{BASE}/receipt/", {"nonce": code(signed.nonce)[:20]})
    assert page.status_code == 400
    assert "Copy it whole" in text_of(page)


def test_the_check_page_says_that_the_server_checked(
    reader: Reader, signed: Signed
) -> None:
    receipt = fetch(reader, signed, with_w=True)
    page = text_of(reader.sends("/en/check/", {"receipt": as_file(receipt)}))
    assert "This receipt is good" in page
    assert "Checked on this server" in page
    assert "It stands and is counted." in page
    assert "it proves that the signature is yours" in page
    pasted = receipt.decode().replace("\n", "\r\n")
    assert "This receipt is good" in text_of(
        reader.sends("/en/check/", {"text": pasted})
    )


@pytest.mark.parametrize("damage", ["flip", "other", "empty", "huge"])
def test_what_is_no_receipt_is_said_to_be_none(
    reader: Reader, signed: Signed, damage: str
) -> None:
    receipt = bytearray(fetch(reader, signed, with_w=False))
    if damage == "flip":
        receipt[80] ^= 1
    data = {
        "flip": bytes(receipt),
        "other": b"hello",
        "empty": b"",
        "huge": b"x" * 70_000,
    }[damage]
    page = reader.sends("/en/check/", {"receipt": as_file(data)})
    assert page.status_code == 400
    assert (
        "This receipt is good"
        not in page.content.decode().split("<form")[0].split("data-check")[0]
    )


def test_withdrawing_by_receipt_shows_in_the_check(
    instance: Instance, reader: Reader, campaign: Campaign, signed: Signed
) -> None:
    receipt = fetch(reader, signed, with_w=True)
    done = reader.sends(f"{BASE}/withdraw/", {"receipt": as_file(receipt)})
    assert "The withdrawal is accepted" in text_of(done)
    instance.publish(campaign)
    assert instance.net(campaign) == 0
    assert "Asha" not in text_of(reader.opens(f"{BASE}/names/"))
    page = text_of(reader.sends("/en/check/", {"receipt": as_file(receipt)}))
    assert "It was withdrawn with its own key." in page


def test_withdrawing_by_number_and_key(
    instance: Instance, reader: Reader, campaign: Campaign, signed: Signed
) -> None:
    data = {"nonce": code(signed.nonce), "w": code(signed.w)}
    done = reader.sends(f"{BASE}/withdraw/", data)
    assert "The withdrawal is accepted" in text_of(done)


def test_a_wrong_key_withdraws_nothing(
    instance: Instance, reader: Reader, campaign: Campaign, signed: Signed
) -> None:
    data = {"nonce": code(signed.nonce), "w": code(bytes(32))}
    page = reader.sends(f"{BASE}/withdraw/", data)
    assert page.status_code == 400
    assert "This does not withdraw the signature" in text_of(page)
    assert code(signed.nonce) in page.content.decode()
    instance.publish(campaign)
    assert instance.net(campaign) == 1


def test_a_receipt_without_its_key_withdraws_nothing(
    reader: Reader, signed: Signed
) -> None:
    receipt = fetch(reader, signed, with_w=False)
    page = reader.sends(f"{BASE}/withdraw/", {"receipt": as_file(receipt)})
    assert page.status_code == 400


def test_what_was_shown_can_be_erased_alone(
    instance: Instance, reader: Reader, campaign: Campaign, signed: Signed
) -> None:
    assert "Asha" in text_of(reader.opens(f"{BASE}/names/"))
    data = {"nonce": code(signed.nonce), "w": code(signed.w), "act": "erase"}
    assert "What you showed is erased" in text_of(
        reader.sends(f"{BASE}/withdraw/", data)
    )
    assert "Asha" not in text_of(reader.opens(f"{BASE}/names/"))
    assert instance.net(campaign) == 1


def test_nothing_given_is_asked_for(reader: Reader, campaign: Campaign) -> None:
    page = reader.sends(f"{BASE}/withdraw/", {})
    assert page.status_code == 400
    assert "Choose the receipt file, or type both" in text_of(page)
