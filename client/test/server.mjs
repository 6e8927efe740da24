/** A tiny issuer and log for the page tests: nothing here is shared with the client. */
import { constants, createHash, generateKeyPairSync, verify } from "node:crypto";

const sha = (...parts) => {
  const hash = createHash("sha256");
  parts.forEach((part) => hash.update(part));
  return hash.digest();
};
const u16 = (n) => Buffer.from([n >> 8, n & 255]);
const big = (x) => BigInt("0x" + Buffer.from(x).toString("hex"));
const HEAD = Buffer.from(
  "30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a3018" +
    "06092a864886f70d010108300b0609608648016503040202a2030201300382010f003082010a" +
    "0282010100",
  "hex",
);

function power(base, exponent, modulus) {
  let result = 1n;
  for (; exponent; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return result;
}

const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
const jwk = pair.privateKey.export({ format: "jwk" });
const N = big(Buffer.from(jwk.n, "base64url"));
const D = big(Buffer.from(jwk.d, "base64url"));
const SPKI = Buffer.concat([
  HEAD,
  Buffer.from(jwk.n, "base64url"),
  Buffer.from("0203010001", "hex"),
]);

const answer = (status, body, headers = {}) => ({
  ok: status < 300,
  status,
  headers: { get: (name) => headers[name] ?? null },
  arrayBuffer: async () => new Uint8Array(body).buffer,
  json: async () => JSON.parse(body),
  text: async () => String(body),
});
const problem = (status, code, headers, more) =>
  answer(
    status,
    JSON.stringify({ type: "about:blank", title: "", status, code, ...more }),
    headers,
  );

export class Server {
  /** `spined`: the origin that the spine's entry names; none where there is no spine. */
  constructor(now, { mode = "standard", flags = 0, promised = 3600, spined } = {}) {
    Object.assign(this, { now, mode, promised, spined });
    this.statement = "We ask.\nSecond line — 河.\n";
    this.origin = "example.org/c/demo";
    this.keyLeaf = Buffer.concat([Buffer.from([1, 2, 0, 1, 1, flags]), SPKI]);
    const header = Buffer.from("\x01\0{}");
    this.leaves = [header, this.keyLeaf];
    this.pool = new Map();
    this.requests = [];
    /** Path → what to do instead, once. */
    this.next = {};
    this.fetch = this.fetch.bind(this);
    const sized = (x) => Buffer.concat([u16(Buffer.byteLength(x)), Buffer.from(x)]);
    const digest = sha(this.statement);
    const context = sha("undersigned/campaign/v1\0", this.origin, "\0", digest);
    this.challenge = sha(
      "\0\x02",
      sized("example.org"),
      " ",
      context,
      sized(this.origin),
    );
    this.dataset = {
      path: "/c/demo",
      origin: this.origin,
      issuer: "example.org",
      mode,
      digest: digest.toString("hex"),
      key: this.keyLeaf.toString("base64"),
      keyTile: "000.p/2",
      ticket: "one",
      ...(mode === "standard" && { publishAfter: "60" }),
    };
  }

  /** What the campaign page carries of it. */
  get campaign() {
    const { path, origin, mode, publishAfter } = this.dataset;
    return { path, origin, mode, ...(publishAfter && { publishAfter }) };
  }

  publish() {
    this.leaves.push(...[...this.pool.values()].sort(Buffer.compare));
    this.pool.clear();
  }

  async fetch(url, { method = "GET", body, headers, credentials, referrerPolicy }) {
    const path = url.slice("/c/demo/".length);
    this.requests.push({ path, body, headers, credentials, referrerPolicy });
    const fault = this.next[path];
    delete this.next[path];
    if (fault?.code) return problem(fault.status, fault.code, {}, fault.more);
    const response = this[method + " " + path.split("/")[0]](path, body, headers);
    if (fault === "lost") throw new TypeError("Failed to fetch");
    return response;
  }

  ["GET tile"](path) {
    if (path !== "tile/entries/000.p/2") return problem(404, "not-found");
    return answer(
      200,
      Buffer.concat(this.leaves.slice(0, 2).flatMap((x) => [u16(x.length), x])),
    );
  }

  ["POST issue"](path, body, headers) {
    if (headers["content-type"] !== "application/private-token-request")
      throw new Error();
    if (!/^Ticket \S+$/.test(headers.authorization)) throw new Error();
    if (body.length !== 259 || body[2] !== sha(SPKI)[31]) throw new Error();
    const signed = power(big(body.slice(3)), D, N)
      .toString(16)
      .padStart(512, "0");
    return answer(200, Buffer.from(signed, "hex"));
  }

  ["POST sign"](path, body) {
    const request = JSON.parse(body);
    const [ph, wh, r, authenticator] = [
      "public_hash",
      "withdraw_hash",
      "r",
      "authenticator",
    ].map((name) => Buffer.from(request[name], "base64url"));
    const committed = Buffer.concat([Buffer.from([request.stance]), ph, wh, r]);
    const nonce = sha("undersigned/nonce/v1\0", this.challenge, committed);
    const input = Buffer.concat([u16(2), nonce, this.challenge, sha(SPKI)]);
    const key = pair.publicKey;
    const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 };
    if (!verify("sha384", input, pss, authenticator))
      return problem(400, "token-invalid");
    const leaf = Buffer.concat([
      Buffer.from([1, 1]),
      u16(request.key_index),
      committed,
      authenticator,
    ]);
    this.pool.set(nonce.toString("base64url"), leaf);
    this.last = { request, nonce, leaf };
    const by = Math.floor(this.now() / 1000) + this.promised;
    const promise = `undersigned promise v1\n${this.origin}\n${nonce.toString("hex")}\n${by}\n\n— x y\n`;
    return answer(200, JSON.stringify({ promise }));
  }

  ["POST receipt"](path, body) {
    const { nonce } = JSON.parse(body);
    if (nonce !== this.last.nonce.toString("base64url")) throw new Error();
    const index = this.leaves.findIndex((leaf) => leaf.equals(this.last.leaf));
    if (index < 0) return problem(404, "receipt-not-ready", { "retry-after": "30" });
    // Three leaves: the third one's only sibling is the node over the first two.
    const hashes = this.leaves.map((leaf) => sha("\0", leaf));
    const pairHash = sha("\x01", hashes[0], hashes[1]);
    const root = sha("\x01", pairHash, hashes[2]).toString("base64");
    const checkpoint = `${this.origin}\n3\n${root}\n\n— ${this.origin} AAAAAAA=\n`;
    const first = `c2sp.org/tlog-proof@v1\nindex 2\n${pairHash.toString("base64")}\n\n${checkpoint}`;
    return answer(200, first + this.proveEntry(root));
  }

  /** The second part, where there is a spine: of one leaf, so its hash is the root. */
  proveEntry(root) {
    if (!this.spined) return "";
    const digits = Buffer.from(root, "base64").toString("hex");
    const origin = this.spined;
    const entry = `{"kind":"checkpoint","origin":"${origin}","root":"${digits}","size":3}`;
    const top = sha("\0", entry).toString("base64");
    const extra = Buffer.from(entry).toString("base64");
    this.second =
      `c2sp.org/tlog-proof@v1\nextra ${extra}\nindex 0\n\n` +
      `example.org/spine\n1\n${top}\n\n— example.org/spine AAAAAAA=\n— a.b/witness AAAAAAA=\n`;
    return this.second;
  }
}
