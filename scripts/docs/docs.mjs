import { join } from "node:path";
import { become } from "../become.mjs";
import { root } from "../setup/shell.mjs";
import { names } from "./names.mjs";

const typedoc = (...args) => become(join(root, "node_modules/.bin/typedoc"), args);

/** Writes the README's table of names, and the pages of the API to out/docs. */
export async function makeDocs() {
  return names() || typedoc();
}

/** Fails when the README's table is stale, or where the API's comments are missing or link to nothing. */
export async function checkDocs() {
  return names({ check: true }) || typedoc("--emit", "none", "--logLevel", "Warn");
}
