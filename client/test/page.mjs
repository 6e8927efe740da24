/**
 * Just enough of a browser for the built scripts: a page of elements with data
 * attributes, storage, fetch and clock, in a context of its own. What only a real
 * browser can show (CSP, downloads, headers) is left to the journeys.
 */
import { readFileSync } from "node:fs";
import { webcrypto } from "node:crypto";
import vm from "node:vm";

const BUILT = new URL("../../src/undersigned/web/static/undersigned/", import.meta.url);
const WORDS = [
  "form working waiting quarantine later failed signed due asking building receipt saved done",
  "error undefined fallback text-changed key-not-published token-wrong promise-wrong",
  "please-wait",
  "ticket-expired receipt-not-ready receipt-wrong personal-data-found",
].flatMap((line) => line.split(" "));

class Element {
  constructor(dataset = {}, text = "") {
    Object.assign(this, {
      dataset,
      textContent: text,
      hidden: true,
      listeners: {},
    });
  }
  matches(selector) {
    const [, word] = /^\[data-show~="(.*)"\]$/.exec(selector);
    return this.dataset.show === word;
  }
  setAttribute() {}
  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }
  click() {}
}

/** What a browser keeps between pages. */
export class Browser {
  constructor() {
    this.storage = {};
    this.now = Date.parse("2026-11-21T08:00:00Z");
    /** @type {{name: string, text: string}[]} files saved by the signer */
    this.saved = [];
  }

  /**
   * Open a page with both scripts.
   * @param {Record<string, string>} dataset of #sign
   * @param {{statement?: string, fields?: object, fetch: Function, without?: string}} rest
   */
  open(dataset, { statement = "", fields = {}, fetch, without = "" }) {
    const browser = this;
    const form = new Element(dataset);
    form.elements = fields;
    const parts = WORDS.map((show) => new Element({ show }));
    const link = () => {
      const element = new Element();
      element.click = () =>
        browser.saved.push({ name: element.download, text: element.href });
      return element;
    };
    const due = new Element();
    const before = new Element();
    const listeners = {};
    const timers = [];
    class Clock extends Date {
      constructor(at = browser.now) {
        super(at);
      }
      static now() {
        return browser.now;
      }
    }
    const event = (act) => ({ target: new Element({ act }) });
    const context = {
      crypto: without === "crypto" ? {} : webcrypto,
      localStorage: this.storage,
      document: {
        documentElement: { lang: "en" },
        getElementById: (id) =>
          // No "line": that is the waiting page's.
          id === "line" ? null : id === "sign" ? form : new Element({}, statement),
        querySelector: (selector) => {
          const [, act] = /^\[data-act=(.*)\]$/.exec(selector);
          return { click: () => context.onclick(event(act)) };
        },
        querySelectorAll: (selector) =>
          ({ "[data-show]": parts, "[data-due]": [due], "[data-before]": [before] })[
            selector
          ] || [],
        createElement: link,
      },
      fetch,
      Date: Clock,
      // As in a browser, a span of more than 31 bits is none at all.
      setTimeout: (call, ms = 0) =>
        timers.push({ call, at: browser.now + (ms < 2 ** 31 ? ms : 0) }),
      clearTimeout: (id) => id && (timers[id - 1].call = () => {}),
      addEventListener: (name, listener) => (listeners[name] ||= []).push(listener),
      dispatchEvent: (event) =>
        (listeners[event.type] || []).forEach((listener) => listener(event)),
      CustomEvent: class {
        constructor(type, { detail }) {
          Object.assign(this, { type, detail });
        }
      },
      URL: { createObjectURL: ({ text }) => text },
      Blob: class {
        constructor([text]) {
          this.text = text;
        }
      },
      TextEncoder,
      TextDecoder,
      atob,
      btoa,
    };
    if (without === "storage") {
      Object.defineProperty(context, "localStorage", {
        get() {
          throw new Error("SecurityError");
        },
      });
    }
    // Deleting is all that the scripts need of Storage beyond plain properties.
    Object.defineProperty(this.storage, "removeItem", {
      value: (key) => delete this.storage[key],
      enumerable: false,
      configurable: true,
    });
    context.window = context;
    vm.createContext(context);
    for (const name of ["receipt", "wait", "sign"]) {
      vm.runInContext(readFileSync(new URL(`${name}.js`, BUILT), "utf8"), context);
    }
    return {
      /** The words shown, once everything under way has come to rest. */
      async shown() {
        let words = "working";
        for (let i = 0; i < 2000 && /working|asking|building/.test(words); i++) {
          await new Promise((resolve) => setTimeout(resolve, 2));
          words = parts
            .filter((e) => !e.hidden)
            .map((e) => e.dataset.show)
            .join(" ");
        }
        return words;
      },
      due: () => due.textContent,
      before: () => before.textContent,
      submit() {
        const submitted = { preventDefault: () => (this.prevented = true) };
        form.listeners.submit?.(submitted);
        form.onsubmit?.(submitted);
      },
      press(act) {
        listeners.click.forEach((listener) => listener(event(act)));
        context.onclick(event(act));
      },
      /** Let time pass, and what was waiting for it happen. @param {number} ms */
      pass(ms) {
        browser.now += ms;
        const due = timers.filter(({ at }) => at <= browser.now);
        due.forEach((timer) => {
          timer.at = Infinity;
          timer.call();
        });
      },
    };
  }
}
