// Adds to package-lock.json the platform packages that npm left out.
//
// npm drops an optional package from the lockfile when the registry did not answer for it (not published yet, or a mirror without it), and then
// `npm ci` refuses the lockfile it wrote. Run this after `npm install` changed package-lock.json; it changes nothing when nothing is missing.
import { readFileSync, writeFileSync } from "node:fs";

const file = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(file, "utf8"));

const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const processors = ["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"];

/** What a platform package's name says about where it installs: "cli-linux-x64-musl" → linux, x64, musl. */
function platform(name) {
  const words = name.replace("windows", "win32").replace(/-64$/, "-x64").split(/[/-]/);
  const os = systems.filter((s) => words.includes(s));
  const cpu = processors.filter((p) => words.includes(p));
  const libc = words.some((w) => w.startsWith("musl"))
    ? ["musl"]
    : os[0] === "linux" && words.some((w) => w.startsWith("gnu"))
      ? ["glibc"]
      : [];
  return { ...(cpu.length && { cpu }), ...(os.length && { os }), ...(libc.length && { libc }) };
}

const added = [];
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const known = lock.packages[`node_modules/${name}`] ?? lock.packages[`${path}/node_modules/${name}`];
    if (known || !/^\d+\.\d+\.\d+$/.test(version)) continue;
    lock.packages[`node_modules/${name}`] = {
      version,
      ...platform(name),
      dev: !path.startsWith("packages/") || undefined,
      optional: true,
    };
    added.push(`${name}@${version}`);
  }
}
if (added.length > 0) {
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, "en")));
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
}
console.log(added.length > 0 ? `package-lock.json: added ${added.join(", ")}` : "package-lock.json: complete");
