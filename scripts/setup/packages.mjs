// The packages from npm, installed when they are not those of package-lock.json.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { alone, call, root, say } from "./shell.mjs";

/** Runs `npm ci` unless node_modules already holds what package-lock.json asks for. */
export function installPackages() {
  if (installed()) return;
  alone(() => {
    if (installed()) return;
    say("Installing npm packages (npm ci)…");
    const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ["npm"];
    const code = call(npm[0], [...npm.slice(1), "ci", "--include=dev", "--no-fund", "--no-audit"]);
    if (code !== 0) {
      say("npm ci failed; its message is above. Nothing runs without the npm packages.");
      process.exit(1);
    }
  });
}

/** npm keeps a lockfile of what it installed inside node_modules: compare the versions of the two. */
function installed() {
  const path = join(root, "node_modules/.package-lock.json");
  if (!existsSync(path)) return false;
  const wanted = readLock(join(root, "package-lock.json"));
  const present = readLock(path);
  return Object.entries(wanted).every(([at, { version, optional }]) => {
    if (!at.startsWith("node_modules/")) return true;
    return present[at] ? present[at].version === version : optional === true;
  });
}

function readLock(path) {
  return JSON.parse(readFileSync(path, "utf8")).packages ?? {};
}
