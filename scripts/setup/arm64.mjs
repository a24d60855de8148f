// arm64 on another machine: Debian's cross compiler, the emulator of its programs, and the build for both.
import { join } from "node:path";
import { buildNative } from "./native.mjs";
import { root, say, which } from "./shell.mjs";
import { installNeeds } from "./system.mjs";

/** Where the libraries of the cross compiler are. */
export const ARM64_LIBRARIES = "/usr/aarch64-linux-gnu";

/** The folder of native/ that the build is in, and that of a build for a quick look. */
export const ARM64_FOLDER = "build-arm64";
export const ARM64_QUICK_FOLDER = "build-arm64-quick";

const COMPILER = "aarch64-linux-gnu-g++";
const needs = [
  { name: "the compiler for arm64", package: "g++-aarch64-linux-gnu", present: () => which(COMPILER) !== undefined },
  { name: "the emulator of its programs", package: "qemu-user", present: () => qemu() !== undefined },
];

/** The program that runs programs of arm64. */
export function qemu() {
  return which("qemu-aarch64") ?? which("qemu-aarch64-static");
}

/**
 * Builds te_cpu.node for arm64, quickly with the kernels of NEON alone, after installing what that needs where it can. False after
 * saying in a sentence what lacks.
 */
export function buildForArm64({ quick = false } = {}) {
  if (!hasArm64Tools()) return false;
  const options = [`-DCMAKE_TOOLCHAIN_FILE=${join(root, "native/arm64.cmake")}`, "-DTE_CUDA=OFF"];
  if (quick) options.push("-DTE_ISAS=neon");
  return buildNative({ folder: quick ? ARM64_QUICK_FOLDER : ARM64_FOLDER, options, targets: ["te_cpu"] });
}

/** Whether the compiler and the emulator are there, after an attempt to install them; says in a sentence what lacks. */
export function hasArm64Tools() {
  const missing = installNeeds(needs);
  if (missing.length === 0) return true;
  say(`Kernels for arm64 need ${missing.join(" and ")}: apt-get install g++-aarch64-linux-gnu qemu-user.`);
  return false;
}
