/** The built count.js on a page of a few elements, with a clock that the test moves. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const SCRIPT = readFileSync(
  new URL("../../src/undersigned/web/static/undersigned/count.js", import.meta.url),
  "utf8",
);

const element = (dataset = {}, textContent = "") => ({
  dataset,
  textContent,
  hidden: false,
});

const count = (size, net, more = {}) => ({
  tree_size: size,
  net,
  signatures: net + 3,
  withdrawals: 1,
  removals: 0,
  by_class: { email: net },
  ...more,
});

/** Open a page of 1,200 signatures as of checkpoint 1,210. */
function open({ answers = [], lang = "en", hidden = false, saveData, reduced } = {}) {
  const net = element({ count: "net" }, "1,200");
  const signatures = element({ count: "signatures" }, "1,203");
  const email = element({ count: "by_class.email" }, "1,200");
  const size = element({ count: "tree_size" }, "1,210");
  const taken = (name, text) => ({
    ...element({}, text),
    parentElement: element({ taken: name }),
  });
  const withdrawals = taken("withdrawals", "− 2");
  const removals = taken("removals", "− 1");
  const noun = element({ one: "signature stands", other: "signatures stand" });
  const then = element();
  const now = { ...element(), hidden: true };
  const say = element();
  const sentence = {
    get textContent() {
      return `${net.textContent} signatures stand`;
    },
  };
  const asOf = {
    get textContent() {
      return `As of checkpoint ${size.textContent}.`;
    },
  };
  const parts = {
    "[data-count]": [net, signatures, email, size],
    "[data-taken] bdi": [withdrawals, removals],
    "[data-noun]": [noun],
    "[data-then]": [then],
    "[data-now]": [now],
    "[data-say]": [say],
    "p.net": [sentence],
    "[data-now] span": [asOf],
  };
  const section = {
    dataset: { poll: "/c/soil/count.json", size: "1210" },
    querySelectorAll: (selector) => parts[selector],
    querySelector: (selector) => parts[selector][0],
  };
  const page = { net, email, size, withdrawals, removals, noun, then, now, say };
  Object.assign(page, { requests: [], at: 0, timers: [] });
  const listeners = {};
  const document = {
    hidden,
    documentElement: { lang },
    querySelector: (selector) => (selector === "[data-poll]" ? section : null),
    addEventListener: (name, listener) => (listeners[name] = listener),
  };
  const context = {
    document,
    navigator: saveData === undefined ? {} : { connection: { saveData } },
    matchMedia: (query) => {
      assert.equal(query, "(prefers-reduced-data: reduce)");
      return { matches: Boolean(reduced) };
    },
    Date: { now: () => page.at },
    Intl,
    Number,
    Math,
    fetch: async (url, options) => {
      page.requests.push({ url, at: page.at, ...options });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (!answer) throw new TypeError("no connection");
      return answer.status
        ? { ok: false, status: answer.status }
        : { ok: true, json: async () => answer };
    },
    setTimeout: (call, ms) => page.timers.push({ call, at: page.at + ms }),
    clearTimeout: (id) => id && (page.timers[id - 1].at = Infinity),
  };
  vm.createContext(context);
  vm.runInContext(SCRIPT, context);
  /** Let time pass, second by second. */
  page.pass = async (ms) => {
    for (const end = page.at + ms; page.at < end; ) {
      page.at += Math.min(1e3, end - page.at);
      for (const timer of page.timers.filter(({ at }) => at <= page.at)) {
        timer.at = Infinity;
        timer.call();
      }
      await new Promise(setImmediate);
    }
  };
  page.turn = (away) => {
    document.hidden = away;
    listeners.visibilitychange();
  };
  return page;
}

test("a newer count replaces the one on the page, with its checkpoint", async () => {
  const page = open({ answers: [count(1300, 1290)] });
  await page.pass(13e3);
  assert.equal(page.net.textContent, "1,290");
  assert.equal(page.email.textContent, "1,290");
  assert.equal(page.size.textContent, "1,300");
  assert.equal(page.withdrawals.textContent, "− 1");
  assert.equal(page.removals.textContent, "0");
  assert.equal(page.noun.textContent, "signatures stand");
  assert.ok(page.then.hidden && !page.now.hidden);
  assert.equal(page.say.textContent, "1,290 signatures stand As of checkpoint 1,300.");
});

test("an older count, or the same, changes nothing", async () => {
  for (const size of [1209, 1210]) {
    const page = open({ answers: [count(size, 7)] });
    await page.pass(60e3);
    assert.equal(page.net.textContent, "1,200");
    assert.ok(page.now.hidden);
    assert.equal(page.say.textContent, "");
  }
});

test("one signature is said in the singular where the language has one", async () => {
  const english = open({ answers: [count(1300, 1)] });
  await english.pass(13e3);
  assert.equal(english.noun.textContent, "signature stands");
  const chinese = open({ answers: [count(1300, 1)], lang: "zh-Hans" });
  await chinese.pass(13e3);
  assert.equal(chinese.noun.textContent, "signatures stand");
});

test("it asks every ten seconds or so, without cookies or referrer", async () => {
  const page = open({ answers: [count(1210, 1200)] });
  await page.pass(1000e3);
  assert.ok(page.requests.length > 80 && page.requests.length < 120);
  const [first] = page.requests;
  assert.equal(first.url, "/c/soil/count.json");
  assert.equal(first.cache, "no-cache");
  assert.equal(first.credentials, "omit");
  assert.equal(first.referrerPolicy, "no-referrer");
});

test("readers who opened the page together do not stay in step", async () => {
  const first = new Set();
  for (let i = 0; i < 20; i++) {
    const page = open({ answers: [count(1210, 1200)] });
    await page.pass(13e3);
    assert.equal(page.requests.length, 1);
    first.add(page.timers[0].at);
    first.add(page.requests[0].at);
  }
  assert.ok(first.size > 3);
});

test("it asks later and later while nobody answers, and as before afterwards", async () => {
  const answers = [{ status: 503 }];
  const page = open({ answers });
  await page.pass(3600e3);
  const failed = page.requests.length;
  assert.ok(failed < 20, `${failed} requests in an hour`);
  answers[0] = undefined;
  await page.pass(3600e3);
  assert.ok(page.requests.length - failed < 20);
  assert.equal(page.net.textContent, "1,200");
  answers[0] = count(1300, 1290);
  await page.pass(400e3);
  assert.equal(page.net.textContent, "1,290");
  const before = page.requests.length;
  await page.pass(100e3);
  assert.ok(page.requests.length - before >= 8);
});

test("it does not ask while nobody looks", async () => {
  const page = open({ answers: [count(1300, 1290)], hidden: true });
  await page.pass(600e3);
  assert.equal(page.requests.length, 0);
  page.turn(false);
  await page.pass(3e3);
  assert.equal(page.requests.length, 1);
  page.turn(true);
  await page.pass(600e3);
  assert.equal(page.requests.length, 1);
});

test("turning away and back does not make it ask more often", async () => {
  const page = open({ answers: [count(1210, 1200)] });
  for (let i = 0; i < 100; i++) {
    page.turn(true);
    await page.pass(500);
    page.turn(false);
    await page.pass(500);
  }
  assert.ok(page.requests.length <= 13, `${page.requests.length} in 100 seconds`);
});

test("it never asks for who wants to save data", async () => {
  for (const wish of [{ saveData: true }, { reduced: true }]) {
    const page = open({ answers: [count(1300, 1290)], ...wish });
    await page.pass(600e3);
    assert.equal(page.requests.length, 0);
  }
});

test("a screen reader is told once in five minutes at most", async () => {
  const answers = [count(1300, 1290)];
  const page = open({ answers });
  await page.pass(13e3);
  const said = page.say.textContent;
  answers[0] = count(1400, 1390);
  await page.pass(60e3);
  assert.equal(page.net.textContent, "1,390");
  assert.equal(page.say.textContent, said);
  await page.pass(300e3);
  answers[0] = count(1500, 1490);
  await page.pass(13e3);
  assert.equal(page.say.textContent, "1,490 signatures stand As of checkpoint 1,500.");
});

test("an answer that is no count leaves the page as it is", async () => {
  const broken = [{ tree_size: 1300 }, {}, { tree_size: "x" }, { ...count(1300, "y") }];
  for (const answer of [...broken, count(1300, 1290, { by_class: {} })]) {
    const page = open({ answers: [answer] });
    await page.pass(60e3);
    assert.equal(page.size.textContent, "1,210");
    assert.equal(page.net.textContent, "1,200");
    assert.ok(page.now.hidden);
  }
});
