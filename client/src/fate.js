/**
 * What became of one published signature, by the state rules of PROTOCOL §3, from the
 * leaves that can change it. Approvals are not checked here: the audit does that.
 */
import { hex } from "./bytes.js";
import { tagged } from "./token.js";

/** @typedef {"standing" | "held" | "withdrawn" | "removed"} State */

/** @param {string} x byte string of UTF-8 JSON */
export const parseJSON = (x) =>
  JSON.parse(new TextDecoder().decode(Uint8Array.from(x, (c) => c.charCodeAt(0))));

export class Fate {
  /**
   * @param {number} index of the signature
   * @param {number} keyIndex
   * @param {string} withdrawHash
   * @param {boolean} quarantine whether its key was announced with flag 1
   */
  constructor(index, keyIndex, withdrawHash, quarantine) {
    this.index = index;
    this.keyIndex = keyIndex;
    this.withdrawHash = withdrawHash;
    this.quarantine = quarantine;
    this.keyRemoved = false;
    /** @type {State | ""} empty until the signature itself is reached */
    this.state = "";
  }

  /** Leaves must come in order. @param {number} index @param {string} leaf */
  async apply(index, leaf) {
    if (index === this.index) {
      this.state = this.quarantine ? "held" : this.keyRemoved ? "removed" : "standing";
      return;
    }
    const type = leaf.charCodeAt(1);
    if (type === 3) await this.withdraw(leaf);
    if (type === 5) this.remove(parseJSON(leaf.slice(2)));
    if (type === 8) this.release(parseJSON(leaf.slice(2)));
  }

  /** @param {string} leaf target index u64, then w */
  async withdraw(leaf) {
    if (parseInt(hex(leaf.slice(2, 10)), 16) !== this.index) return;
    const matches = (await tagged("withdraw", leaf.slice(10))) === this.withdrawHash;
    if (matches) this.state = "withdrawn";
  }

  /** @param {{targets?: number[][], remove_key?: number}} removal */
  remove({ targets, remove_key }) {
    if (remove_key === this.keyIndex) {
      this.quarantine = false;
      this.keyRemoved = true;
      if (this.state === "held") this.state = "removed";
    }
    if (this.covers(targets) && this.state !== "withdrawn") this.state = "removed";
  }

  /** @param {{targets?: number[][], release_key?: number}} release */
  release({ targets, release_key }) {
    if (release_key === this.keyIndex) {
      this.quarantine = false;
      if (this.state === "held") this.state = "standing";
    }
    if (this.covers(targets) && this.state === "removed") {
      this.state = this.quarantine ? "held" : "standing";
    }
  }

  /** @param {number[][]} [targets] inclusive ranges */
  covers(targets) {
    return (targets || []).some(([a, b]) => a <= this.index && this.index <= b);
  }
}
