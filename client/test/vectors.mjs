/** The authors' own vectors lie outside the repository and may be absent. */
import { existsSync, readdirSync, readFileSync } from "node:fs";

const HOME = new URL("../../../shared/vectors/", import.meta.url);

/** For `test(name, absent(folder), …)`. @param {string} folder */
export const absent = (folder) => ({
  skip: !existsSync(new URL(folder, HOME)) && `../shared/vectors/${folder} is not here`,
});

/** @param {string} path */
export const readJSON = (path) => JSON.parse(readFileSync(new URL(path, HOME), "utf8"));

/** @param {string} path */
export const readBytes = (path) => readFileSync(new URL(path, HOME));

/** Files below a folder, by path. @param {string} folder @param {string} end */
export const listFiles = (folder, end) =>
  readdirSync(new URL(folder, HOME), { recursive: true })
    .map((name) => `${folder}/${name}`)
    .filter((name) => name.endsWith(end));
