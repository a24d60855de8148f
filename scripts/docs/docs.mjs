// The documentation that is made from the sources, and the check that it is up to date.
import { join } from "node:path";
import { become } from "../become.mjs";
import { root } from "../setup/shell.mjs";

const names = (...args) =>
  become(process.execPath, [
    "--conditions=@te/source",
    "--import",
    "tsx",
    join(root, "scripts/docs/names.ts"),
    ...args,
  ]);
const typedoc = (...args) => become(join(root, "node_modules/.bin/typedoc"), args);

/** Writes the README's table of names, and the pages of the API to out/docs. */
export const makeDocs = async () => (await names()) || (await typedoc());

/** Fails when the README's table is stale, or where the API's comments are missing or link to nothing. */
export const checkDocs = async () =>
  (await names("--check")) || (await typedoc("--emit", "none", "--logLevel", "Warn"));
