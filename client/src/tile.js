/** C2SP tlog-tiles: paths, entry bundles, and the tree read through tiles. */
import { nodeHash } from "./merkle.js";

export const WIDTH = 256;

/**
 * Path below the log's folder, such as "tile/0/x001/234.p/5".
 * @param {number | "entries"} level
 * @param {number} n
 * @param {number} width
 */
export function tilePath(level, n, width = WIDTH) {
  const groups = [];
  do {
    groups.unshift((groups.length ? "x" : "") + String(n % 1000).padStart(3, "0"));
    n = Math.floor(n / 1000);
  } while (n);
  return `tile/${level}/${groups.join("/")}${width < WIDTH ? ".p/" + width : ""}`;
}

/**
 * The leaves of an entries tile: each has its length before it in two bytes. Throws
 * where the last is cut short.
 * @param {string} bundle
 */
export function leavesOf(bundle) {
  const leaves = [];
  for (let at = 0; at < bundle.length;) {
    const start = at + 2;
    at = start + bundle.charCodeAt(start - 2) * 256 + bundle.charCodeAt(start - 1);
    if (!(at <= bundle.length)) throw { code: "tile-malformed" };
    leaves.push(bundle.slice(start, at));
  }
  return leaves;
}

/**
 * A log of a known size, read through tiles that are fetched once each. What comes is
 * only believed once a root made from it equals a checkpoint's.
 */
export class Log {
  /**
   * @param {number} size
   * @param {(path: string) => Promise<string>} fetchBytes by path below the log's
   *   folder; rejects where there is no such file
   */
  constructor(size, fetchBytes) {
    this.size = size;
    this.fetchBytes = fetchBytes;
    /** @type {Map<string, Promise<string>>} */
    this.tiles = new Map();
  }

  /** How many hash tiles or bundles a level has. @param {number | "entries"} level */
  count(level) {
    return Math.ceil(this.widthOf(level) / WIDTH);
  }

  /** How many hashes or leaves stand in a level. @param {number | "entries"} level */
  widthOf(level) {
    return Math.floor(this.size / WIDTH ** (level === "entries" ? 0 : level));
  }

  /** @param {number | "entries"} level @param {number} n */
  tile(level, n) {
    const width = Math.min(WIDTH, this.widthOf(level) - n * WIDTH);
    const path = tilePath(level, n, width);
    let tile = this.tiles.get(path);
    if (!tile) {
      tile = this.fetchTile(level, n, width);
      this.tiles.set(path, tile);
    }
    return tile;
  }

  /** @param {number | "entries"} level @param {number} n @param {number} width */
  async fetchTile(level, n, width) {
    let bytes;
    try {
      bytes = await this.fetchBytes(tilePath(level, n, width));
    } catch (error) {
      if (width === WIDTH) throw error;
      // A partial tile may be gone once the full one stands.
      bytes = await this.fetchBytes(tilePath(level, n));
    }
    if (level === "entries") return bytes;
    if (bytes.length < 32 * width) throw { code: "tile-malformed" };
    return bytes.slice(0, 32 * width);
  }

  /** The leaves of bundle `n`, within the log's size. @param {number} n */
  async leaves(n) {
    const leaves = leavesOf(await this.tile("entries", n));
    const width = Math.min(WIDTH, this.size - n * WIDTH);
    if (leaves.length < width) throw { code: "tile-malformed" };
    return leaves.slice(0, width);
  }

  /** A ReadNode. @param {number} level @param {number} n @returns {Promise<string>} */
  async node(level, n) {
    const height = level % 8;
    const first = n * 2 ** height;
    const tile = await this.tile((level - height) / 8, Math.floor(first / WIDTH));
    const at = (first % WIDTH) * 32;
    /** @type {string[]} */
    let hashes = tile.slice(at, at + 32 * 2 ** height).match(/[^]{32}/g) || [];
    while (hashes.length > 1) {
      const pairs = [];
      for (let i = 0; i < hashes.length; i += 2) {
        pairs.push(nodeHash(hashes[i], hashes[i + 1]));
      }
      hashes = await Promise.all(pairs);
    }
    return hashes[0];
  }
}
