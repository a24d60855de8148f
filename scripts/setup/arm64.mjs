// arm64 on another machine: Debian's cross compiler, the emulator of its programs, and the build for both.
import { join } from "node:path";
import { buildNative } from "./native.mjs";
import { root, say, which } from "./shell.mjs";
import { installNeeds } from "./system.mjs";

/** Where the libraries of the cross compiler are. */
export const ARM64_LIBRARIES = "/usr/aarch64-linux-gnu";

/** The folder of native/ that the build is in. */
export const ARM64_FOLDER = "build-arm64";

const COMPILER = "aarch64-linux-gnu-g++";
const needs = [
  { name: "the compiler for arm64", package: "g++-aarch64-linux-gnu", present: () => which(COMPILER) !== undefined },
  { name: "the emulator of its programs", package: "qemu-user", present: () => qemu() !== undefined },
];

/** The program that runs programs of arm64. */
export function qemu() {
  return which("qemu-aarch64") ?? which("qemu-aarch64-static");
}

/** Builds te_cpu.node for arm64, after installing what that needs where it can. False after saying in a sentence what lacks. */
export function buildForArm64() {
  const missing = installNeeds(needs);
  if (missing.length > 0) {
    say(
      `Kernels for arm64 are not built without ${missing.join(" and ")}: apt-get install g++-aarch64-linux-gnu qemu-user.`,
    );
    return false;
  }
  const options = [`-DCMAKE_TOOLCHAIN_FILE=${join(root, "native/arm64.cmake")}`, "-DTE_CUDA=OFF"];
  return buildNative({ folder: ARM64_FOLDER, options, targets: ["te_cpu"] });
}
