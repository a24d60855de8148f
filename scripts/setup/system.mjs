// What the native build needs of the system, and its installation where that is possible.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ask, call, root, say, which } from "./shell.mjs";

const needs = [
  // The yardstick of products; arm64 has one of its own.
  ...(process.arch === "arm64"
    ? []
    : [{ name: "oneDNN", package: "libdnnl-dev", present: () => oneDnnHeader() !== undefined }]),
  { name: "CMake", package: "cmake", present: () => which("cmake") !== undefined },
  { name: "Ninja", package: "ninja-build", present: () => which("ninja") !== undefined, optional: true },
  // Programs on several processes are tested with it; without it these tests are left out.
  { name: "MPI", package: "openmpi-bin", present: () => which("mpirun") !== undefined, optional: true },
];

export function oneDnnHeader() {
  const roots = ["/usr", "/usr/local", ...(process.env.CMAKE_PREFIX_PATH ?? "").split(":").filter(Boolean)];
  return roots.map((prefix) => join(prefix, "include/oneapi/dnnl/dnnl.hpp")).find((path) => existsSync(path));
}

export function compiler() {
  return [process.env.CXX, "c++", "g++", "clang++"].filter(Boolean).find((name) => which(name) !== undefined);
}

/** Installs the Debian packages that the native build needs, where that is possible. Returns the names of what is still missing. */
export function installSystemPackages() {
  return installNeeds(needs);
}

/** The same for another list. */
export function installNeeds(list) {
  const absent = list.filter((need) => !need.present());
  // Without a compiler nothing can be built, so nothing is installed either.
  for (const some of [absent.filter((need) => !need.optional), absent.filter((need) => need.optional)])
    if (some.length > 0 && compiler()) install(some.map((need) => need.package));
  const missing = list
    .filter((need) => !need.optional && !need.present())
    .map((need) => `${need.name} (${need.package})`);
  return compiler() ? missing : ["a C++ compiler (g++)", ...missing];
}

function install(packages) {
  const prefix = administrator();
  if (!prefix || process.env.TE_INSTALL === "off") return;
  say(`Installing Debian packages for native code: ${packages.join(" ")} (TE_INSTALL=off to go without)…`);
  const log = join(root, "native/build/apt.log");
  const apt = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
  const run = (...args) => call(apt[0], [...apt.slice(1), ...args], { log });
  run("update");
  if (run("install", "-y", "--no-install-recommends", ...packages) !== 0)
    say(`apt-get could not install them; see ${log}`);
}

/** What to put before a command to run it as root, or undefined when that needs a password. */
function administrator() {
  if (!which("apt-get")) return undefined;
  if (process.getuid?.() === 0) return [];
  return which("sudo") && ask("sudo", ["-n", "true"]) !== undefined ? ["sudo", "-n"] : undefined;
}
