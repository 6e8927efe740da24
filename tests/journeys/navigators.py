"""What a visitor does, as sentences. No assertions but those every visit must meet.

Keep it small: a method is something a person would say they did.
"""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, Request

NOT_SHOWN = "[hidden]"


class Visitor:
    """Somebody at a browser."""

    def __init__(self, page: Page, base: str, folder: Path) -> None:
        self.page = page
        self.base = base
        self.folder = folder
        self.expects_errors = False
        self._complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on("request", self._watch)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not self.expects_errors:
            self._complaints.append(message.text)

    def _watch(self, request: Request) -> None:
        if not request.url.startswith((self.base, "blob:", "data:", "file:")):
            self._complaints.append(f"a request to {request.url}")

    def require_clean_visit(self) -> None:
        """Fail on page errors, foreign requests and cookies."""
        assert not self._complaints, self._complaints
        assert self.page.context.cookies() == []

    # going somewhere

    def opens(self, path: str) -> None:
        """Open a page of the instance."""
        self.page.goto(self.base + path)

    def opens_campaign(self, campaign_id: str, language: str = "en") -> None:
        """Open a campaign's page."""
        self.opens(f"/{language}/c/{campaign_id}/")

    def text(self) -> str:
        """Return what can be read on the page."""
        return self.page.inner_text("main")

    def presses(self, name: str) -> None:
        """Press the visible button of that name, once the page's scripts have run.

        Earlier the form goes the way without scripts, as it should for people; on a
        crowded host a journey would be that early now and then.
        """
        self.page.wait_for_load_state("load")
        self.page.get_by_role("button", name=name, exact=True).click()

    def sees(self, text: str) -> None:
        """Wait until ``text`` can be read."""
        self.page.get_by_text(text).locator("visible=true").first.wait_for()

    # towards a permission to sign

    def begins_to_sign(self, campaign_id: str) -> None:
        """Go from the campaign's page to the briefing."""
        self.opens_campaign(campaign_id)
        self.page.get_by_role("link", name="Sign this demand").first.click()

    def chooses(self, way: str) -> None:
        """Open one of the ways to sign (email, invitation, open)."""
        details = self.page.locator(f"#way-{way}")
        if details.get_attribute("open") is None:
            details.locator("summary").click()

    def asks_by_mail(self, address: str) -> None:
        """Ask for a code."""
        self.chooses("email")
        self.page.locator("#way-email input[name=address]").fill(address)
        self.page.locator("#way-email button").click()

    def reads_mail(self, address: str) -> tuple[str, str]:
        """Return code and link of the newest mail to ``address``."""
        page = self.page.context.new_page()
        page.goto(f"{self.base}/en/mailbox/")
        row = page.locator("li", has=page.locator(f'b:text-is("{address}")')).first
        row.wait_for()
        body = row.inner_text()
        page.close()
        code = re.search(r"\b(\d{4} \d{4})\b", body)
        link = re.search(r"https?://\S+\?t=\S+", body)
        assert code is not None
        assert link is not None
        return code[1], link[0]

    def types_code(self, code: str) -> None:
        """Type the code from the mail."""
        self.page.locator("input[name=code]").fill(code)
        self.presses("Go on")

    def gets_permission_by_mail(self, campaign_id: str, address: str) -> None:
        """Come as far as the page on which the words are signed."""
        self.begins_to_sign(campaign_id)
        self.asks_by_mail(address)
        # Mail goes to the address as it is counted: in lower case.
        code, _link = self.reads_mail(address.lower())
        self.types_code(code)

    def gets_permission_by_invitation(self, campaign_id: str, code: str) -> None:
        """Come there with a code from paper."""
        self.begins_to_sign(campaign_id)
        self.chooses("invitation")
        self.page.locator("#way-invitation input[name=code]").fill(code)
        self.page.locator("#way-invitation button").click()

    # signing

    def shows(self, *, name: str = "", place: str = "", comment: str = "") -> None:
        """Fill in what is to be shown."""
        self.page.get_by_text("Show something of yourself").click()
        for field, value in (("name", name), ("place", place), ("comment", comment)):
            self.page.locator(f"[name={field}]").fill(value)

    def keeps_the_key(self) -> None:
        """Choose to be able to withdraw."""
        self.page.locator("input[name=keep_w]").check()

    def gives_up_the_key(self) -> None:
        """Choose not to be able to withdraw."""
        self.page.locator("input[name=keep_w]").uncheck()

    def signs(self) -> None:
        """Press the button."""
        self.presses("Sign these words")

    def stored_keys(self) -> list[str]:
        """Return the names in the browser's storage."""
        keys: list[str] = self.page.evaluate("Object.keys(localStorage)")
        return keys

    def saves(self, button: str, name: str) -> Path:
        """Press a button that saves a file; return where it lies."""
        with self.page.expect_download() as download:
            self.presses(button)
        path = self.folder / name
        download.value.save_as(path)
        return path

    def hands_in(self, receipt: Path) -> None:
        """Give a receipt file to the form on this page."""
        self.page.locator("input[type=file]").set_input_files(receipt)
