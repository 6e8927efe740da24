/**
 * Bundle the scripts of the pages into the web application's static files. The result
 * depends on the sources and on the locked version of esbuild only. With `--check`
 * nothing is written: the files that stand there must equal a fresh build.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const SOURCE = new URL("src/", import.meta.url);
const TARGET = new URL("../src/undersigned/web/static/undersigned/", import.meta.url);

/** Entry points, and the bytes each may have at most: sign.js is to be read by many. */
const SCRIPTS = {
  sign: 4096,
  receipt: 8192,
  check: 16384,
  pow: 4096,
  fields: 1024,
  count: 2048,
  wait: 2048,
};

const check = process.argv.includes("--check");
let failed = false;

const result = await build({
  entryPoints: Object.keys(SCRIPTS).map((name) =>
    fileURLToPath(new URL(`${name}.js`, SOURCE)),
  ),
  bundle: true,
  minify: true,
  format: "iife",
  // Old enough that every browser with BigInt parses it, and many without.
  target: "es2019",
  supported: { bigint: true },
  charset: "ascii",
  legalComments: "none",
  write: false,
  outdir: fileURLToPath(TARGET),
  // The editor's settings are not the build's.
  tsconfigRaw: "{}",
  logLevel: "warning",
});

if (!check) await mkdir(TARGET, { recursive: true });
for (const { path, contents } of result.outputFiles) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const limit = SCRIPTS[name.replace(".js", "")];
  const digest = createHash("sha256").update(contents).digest("hex");
  console.log(`${name} ${contents.length} bytes (limit ${limit}) sha256 ${digest}`);
  if (contents.length > limit) {
    console.error(`${name} is larger than its limit`);
    failed = true;
  }
  if (!check) {
    await writeFile(path, contents);
    continue;
  }
  const built = await readFile(path).catch(() => Buffer.alloc(0));
  if (!built.equals(Buffer.from(contents))) {
    console.error(`${name} is not what the sources build: run "npm run build"`);
    failed = true;
  }
}
process.exitCode = failed ? 1 : 0;
