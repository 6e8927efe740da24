import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { Browser } from "./page.mjs";
import { Server } from "./server.mjs";

const HOUR = 3600e3;
const KEY = "undersigned:/c/demo";

/** A browser, a server and an open signing page. */
function begin(options = {}, fields = {}) {
  const browser = new Browser();
  const server = new Server(() => browser.now, options);
  const rest = {
    statement: server.statement,
    fields,
    fetch: server.fetch,
    ...options.page,
  };
  const open = (dataset = server.dataset) => browser.open(dataset, rest);
  return { browser, server, page: open(), open };
}

const paths = (server) => server.requests.map(({ path }) => path);
const posted = (server, path) =>
  server.requests.filter((r) => r.path === path).map((r) => r.body);

test("signing at once in standard mode", async (context) => {
  const fields = {
    stance: { value: "1" },
    name: { value: " Asha " },
    comment: { value: "de\u0301compose\u0301" },
    keep_w: { checked: true },
  };
  const { browser, server, page } = begin({}, fields);

  await context.test("ends with a promise", async () => {
    assert.equal(await page.shown(), "form");
    page.submit();
    assert.equal(await page.shown(), "signed");
    assert.ok(page.prevented);
    assert.deepEqual(paths(server), ["tile/entries/000.p/2", "issue", "sign"]);
    const { request } = server.last;
    assert.deepEqual(request.public, {
      comment: "d\u00e9compos\u00e9",
      name: "Asha",
      place: "",
    });
    assert.equal(request.stance, 1);
  });
  await context.test(
    "sends neither cookies nor a referrer, and the ticket once",
    () => {
      for (const { credentials, referrerPolicy } of server.requests) {
        assert.equal(credentials, "omit");
        assert.equal(referrerPolicy, "no-referrer");
      }
      const tickets = server.requests.map(({ headers }) => headers?.authorization);
      assert.deepEqual(tickets, [undefined, "Ticket one", undefined]);
    },
  );
  await context.test(
    "keeps no name, ticket or blinding factor after the promise",
    () => {
      const kept = browser.storage[KEY];
      assert.ok(!kept.includes("Asha") && !kept.includes("one"));
      assert.equal(JSON.parse(kept)[1], 0);
    },
  );
  await context.test(
    "asks for the receipt after the given delay, then as told",
    async () => {
      page.pass(59e3);
      assert.equal(paths(server).length, 3);
      page.pass(2e3);
      assert.equal(await page.shown(), "signed");
      assert.equal(posted(server, "receipt").length, 1);
      server.publish();
      page.pass(29e3);
      assert.equal(posted(server, "receipt").length, 1);
      page.pass(2e3);
      // The answer to an automatic question comes without a "working" in between.
      for (let i = 0; i < 500 && (await page.shown()) === "signed"; i++);
      assert.equal(await page.shown(), "receipt");
    },
  );
  await context.test("saves leaf and w, and empties the storage", async () => {
    page.press("save");
    assert.equal(await page.shown(), "saved");
    const [{ name, text }] = browser.saved;
    assert.equal(name, "receipt.tlog-proof");
    const extra = Buffer.from(/\nextra (.*)\n/.exec(text)[1], "base64");
    assert.ok(extra.subarray(0, 357).equals(server.last.leaf));
    const w = extra.subarray(357);
    assert.equal(w.length, 32);
    const hash = createHash("sha256").update("undersigned/withdraw/v1\0").update(w);
    assert.equal(hash.digest("base64url"), server.last.request.withdraw_hash);
    assert.deepEqual(browser.storage, {});
  });
});

test("a receipt with a part about the spine", async (context) => {
  const ask = async (spined) => {
    const begun = begin({ mode: "careful", spined }, { keep_w: { checked: true } });
    begun.page.submit();
    assert.equal(await begun.page.shown(), "signed");
    begun.server.publish();
    begun.page.pass(2 * HOUR);
    assert.equal(await begun.page.shown(), "due");
    begun.page.press("receipt");
    return { ...begun, shown: await begun.page.shown() };
  };
  await context.test("keeps that part as it came, and w in the first", async () => {
    const { browser, page, server, shown } = await ask("example.org/c/demo");
    assert.equal(shown, "receipt");
    page.press("save");
    const [{ text }] = browser.saved;
    assert.ok(text.endsWith(server.second));
    const extra = Buffer.from(/\nextra (.*)\n/.exec(text)[1], "base64");
    assert.equal(extra.length, 357 + 32);
  });
  await context.test("is not taken when that part is about another log", async () => {
    const { shown } = await ask("example.org/c/other");
    assert.equal(shown, "due error receipt-wrong");
  });
});

test("waiting in line", async (context) => {
  const wait = (turn, before) => ({
    status: 503,
    code: "please-wait",
    more: { before, seconds: 9, reason: "site", retry_after: 3, turn },
  });
  const turns = (server) =>
    server.requests.map(({ path, headers }) => [path, headers.turn]);
  const { server, page } = begin();
  const sent = (path) => posted(server, path).map(String);

  await context.test("shows the place and keeps what was made", async () => {
    server.next.issue = wait("first", 1234);
    page.submit();
    assert.equal(await page.shown(), "waiting");
    assert.equal(page.before(), "1,234");
    page.pass(2.9e3);
    assert.equal(await page.shown(), "waiting");
    assert.equal(sent("issue").length, 1);
  });
  await context.test("goes on by itself, with its turn and the same bytes", async () => {
    server.next.issue = wait("again", 7);
    page.pass(0.8e3);
    for (let i = 0; i < 500 && sent("issue").length < 2; i++) await page.shown();
    for (let i = 0; i < 500 && page.before() !== "7"; i++) await page.shown();
    server.next.sign = wait("other", 2);
    page.pass(4e3);
    for (let i = 0; i < 500 && sent("sign").length < 1; i++) await page.shown();
    for (let i = 0; i < 500 && page.before() !== "2"; i++) await page.shown();
    assert.equal(new Set(sent("issue")).size, 1);
  });
  await context.test("waits too while the server is away", async () => {
    server.next.sign = "lost";
    page.pass(4e3);
    for (let i = 0; i < 500 && sent("sign").length < 2; i++) await page.shown();
    assert.equal(await page.shown(), "waiting");
    server.next.sign = { status: 503, code: "issuer-away" };
    page.pass(13e3);
    for (let i = 0; i < 500 && sent("sign").length < 3; i++) await page.shown();
    assert.equal(await page.shown(), "waiting");
    page.pass(13e3);
    for (let i = 0; i < 500 && (await page.shown()) !== "signed"; i++);
    assert.equal(await page.shown(), "signed");
    assert.equal(new Set(sent("sign")).size, 1);
  });
  await context.test("sends a turn with the request it was given for only", () => {
    assert.deepEqual(turns(server).slice(1), [
      ["issue", ""],
      ["issue", "first"],
      ["issue", "again"],
      ["sign", ""],
      ["sign", "other"],
      ["sign", "other"],
      ["sign", "other"],
    ]);
  });
});

test("w is not kept unless it was asked for", async () => {
  const { browser, server, page } = begin();
  page.submit();
  assert.equal(await page.shown(), "signed");
  page.press("promise");
  const [{ name, text }] = browser.saved;
  assert.equal(name, "promise.txt");
  assert.equal(text.split("\n")[0], "extra " + server.last.leaf.toString("base64"));
  assert.equal(JSON.parse(browser.storage[KEY])[3], "");
});

test("signing some hours later", async () => {
  const { browser, server, page, open } = begin(
    { mode: "careful" },
    { when: { value: "6" } },
  );
  page.submit();
  assert.equal(await page.shown(), "later");
  assert.equal(posted(server, "sign").length, 0);
  browser.now += 5 * HOUR;
  assert.equal(await open(server.campaign).shown(), "later");
  browser.now += 2 * HOUR;
  const later = open(server.campaign);
  assert.equal(await later.shown(), "signed");
  assert.equal(posted(server, "sign").length, 1);
  server.publish();
  later.pass(2 * HOUR);
  assert.equal(await later.shown(), "due");
  assert.equal(
    posted(server, "receipt").length,
    0,
    "careful mode never asks by itself",
  );
  later.press("receipt");
  assert.equal(await later.shown(), "receipt");
});

test("sending before the hours have passed", async () => {
  const { server, page } = begin({}, { when: { value: "6" } });
  page.submit();
  assert.equal(await page.shown(), "later");
  page.press("now");
  assert.equal(await page.shown(), "signed");
  assert.equal(posted(server, "sign").length, 1);
});

for (const path of ["issue", "sign"]) {
  test(`a lost answer to ${path}, then a new tab`, async () => {
    const { server, page, open } = begin();
    server.next[path] = "lost";
    page.submit();
    assert.equal(await page.shown(), "failed error undefined");
    const campaign = open(server.campaign);
    if (path === "issue") {
      assert.equal(await campaign.shown(), "failed");
      campaign.press("go");
    }
    assert.equal(await campaign.shown(), "signed");
    const [first, second] = posted(server, path);
    assert.ok(Buffer.from(first).equals(Buffer.from(second)));
    assert.equal(server.pool.size, 1);
  });
}

test("a new ticket finishes an attempt whose ticket expired", async () => {
  const { server, page, open } = begin();
  server.next.issue = { status: 403, code: "ticket-expired" };
  page.submit();
  assert.equal(await page.shown(), "failed error ticket-expired");
  const again = open({ ...server.dataset, ticket: "two" });
  assert.equal(await again.shown(), "failed");
  again.press("go");
  assert.equal(await again.shown(), "signed");
  const [first, second] = server.requests.filter((r) => r.path === "issue");
  assert.ok(Buffer.from(first.body).equals(Buffer.from(second.body)));
  assert.equal(second.headers.authorization, "Ticket two");
  again.press("forget");
  again.pass(0);
  assert.equal(await again.shown(), "done", "that ticket is used");
});

test("beginning anew makes another request", async () => {
  const { server, page } = begin();
  server.next.issue = { status: 409, code: "already-issued" };
  page.submit();
  assert.equal(await page.shown(), "failed error");
  page.press("forget");
  assert.equal(await page.shown(), "form");
  page.submit();
  assert.equal(await page.shown(), "signed");
  const [first, second] = posted(server, "issue");
  assert.ok(!Buffer.from(first).equals(Buffer.from(second)));
});

test("a refusal of what was to be shown leaves the token usable", async () => {
  const { server, page } = begin({}, { comment: { value: "call 555 0100 123" } });
  server.next.sign = { status: 400, code: "personal-data-found" };
  page.submit();
  assert.equal(await page.shown(), "failed error personal-data-found");
  page.press("bare");
  assert.equal(await page.shown(), "signed");
  const { request } = server.last;
  assert.equal(request.public, null);
  assert.equal(request.salt, null);
  assert.notEqual(request.public_hash, Buffer.alloc(32).toString("base64url"));
});

test("declining the receipt", async () => {
  const { browser, page, open, server } = begin();
  page.submit();
  assert.equal(await page.shown(), "signed");
  page.press("forget");
  page.pass(0);
  assert.equal(await page.shown(), "done");
  assert.deepEqual(browser.storage, {});
  page.pass(HOUR);
  assert.equal(posted(server, "receipt").length, 0);
  assert.equal(await open(server.campaign).shown(), "form");
});

test("an earlier signature's receipt does not keep a new ticket from its form", async () => {
  const { page, open, server } = begin();
  page.submit();
  assert.equal(await page.shown(), "signed");
  const other = open({ ...server.dataset, ticket: "two" });
  assert.equal(await other.shown(), "signed");
  other.press("forget");
  other.pass(0);
  assert.equal(await other.shown(), "form done");
});

test("danger mode writes nothing to the device", async () => {
  const { browser, server, page } = begin({ mode: "danger", promised: 86400 });
  server.next.sign = "lost";
  page.submit();
  assert.equal(await page.shown(), "failed error undefined");
  assert.deepEqual(browser.storage, {});
  page.press("go");
  assert.equal(await page.shown(), "signed");
  assert.deepEqual(browser.storage, {});
  assert.equal(server.pool.size, 1);
});

test("a promise for months ahead is waited for", async () => {
  const promised = 90 * 86400;
  const { browser, page } = begin({ mode: "danger", promised });
  page.submit();
  assert.equal(await page.shown(), "signed");
  assert.equal(page.due(), "2027-02-19 08:00", "in UTC, whatever the zone");
  for (let day = 1; day < 90; day++) {
    page.pass(86400e3);
    assert.equal(await page.shown(), "signed", `on day ${day}`);
  }
  page.pass(86400e3);
  assert.equal(await page.shown(), "due");
  assert.deepEqual(browser.storage, {});
});

test("what must stop it before anything is sent", async (context) => {
  const stops = async (options, code) => {
    const { browser, server, page } = begin(options);
    page.submit();
    assert.equal(await page.shown(), `form error ${code}`);
    assert.ok(!paths(server).includes("issue"));
    assert.deepEqual(browser.storage, {});
  };
  await context.test("a text that is not the published one", () =>
    stops({ page: { statement: "We ask, translated." } }, "text-changed"),
  );
  await context.test("a key that no published tile holds", async () => {
    const { server, page } = begin();
    server.leaves[1] = Buffer.from(server.keyLeaf);
    server.leaves[1][100] ^= 1;
    assert.equal(await page.shown(), "form");
    // The tile was fetched with the page: a page opened after the change sees it.
    const browser = new Browser();
    const later = browser.open(server.dataset, {
      statement: server.statement,
      fetch: server.fetch,
    });
    later.submit();
    assert.equal(await later.shown(), "form error key-not-published");
  });
  await context.test("a quarantine key, until the signer agrees", async () => {
    const { server, page } = begin({ flags: 1 });
    page.submit();
    assert.equal(await page.shown(), "quarantine");
    assert.ok(!paths(server).includes("issue"));
    page.press("accept");
    assert.equal(await page.shown(), "signed");
  });
});

test("an answer of the issuer that is not the signature is not used", async () => {
  const { server, page } = begin();
  const honest = server["POST issue"];
  server["POST issue"] = (...request) => {
    const response = honest(...request);
    response.arrayBuffer = async () => new Uint8Array(256).fill(7).buffer;
    return response;
  };
  page.submit();
  assert.equal(await page.shown(), "failed error token-wrong");
  assert.equal(posted(server, "sign").length, 0);
});

test("a promise for another nonce is not taken", async () => {
  const { browser, server, page } = begin();
  const honest = server["POST sign"];
  server["POST sign"] = (...request) => {
    const response = honest.apply(server, request);
    const { json } = response;
    response.json = async () => ({
      promise: (await json()).promise.replace(/\n[0-9a-f]{2}/, "\n00"),
    });
    return response;
  };
  page.submit();
  assert.match(await page.shown(), /^(failed error promise-wrong|signed)$/);
  if (server.last.nonce[0]) assert.equal(JSON.parse(browser.storage[KEY])[5] || "", "");
});

test("browsers that cannot sign keep the form that works without scripts", async () => {
  for (const without of ["crypto", "storage"]) {
    const { server, page } = begin({ page: { without } });
    assert.equal(await page.shown(), "form fallback");
    page.submit();
    assert.ok(!page.prevented);
    assert.deepEqual(server.requests, []);
  }
});
