/** The GPU that numbers were measured on: its name, its driver, and the commit of the sources. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { type CudaInfo, cudaInfo } from "@te/kernels-cuda";
import { fail } from "@te/tensor/op";

export interface Card {
  readonly name: string;
  readonly computeCapability: string;
  readonly memoryBytes: number;
  readonly driver: string;
  /** What multiplies matrices. */
  readonly products: string;
  /** The variables that decide how products are computed, where they were set. */
  readonly settings: Readonly<Record<string, string>>;
  readonly commit: string;
  readonly node: string;
  /** Day and time, UTC. */
  readonly date: string;
}

/** The GPU of a device that is there. */
export function cardOf(device: string): Card {
  const info = cudaInfo(device);
  if (!info.available) return fail("backend", "bench gpu", `"${device}" must be there`, undefined, `${info.reason}.`);
  const { name, computeCapability, memoryBytes, products }: CudaInfo = info;
  const date = new Date().toISOString().slice(0, 19);
  return {
    name,
    computeCapability,
    memoryBytes,
    driver: driverVersion(),
    products,
    settings: settings(),
    commit: commit(),
    node: process.version,
    date,
  };
}

const SETTINGS = ["TE_TUNE", "TE_MATMUL_PRECISION", "TE_FP8_ACCUMULATION"];

const settings = () =>
  Object.fromEntries(SETTINGS.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));

function driverVersion(): string {
  try {
    const text = readFileSync("/proc/driver/nvidia/version", "utf8");
    return /\b\d{3}\.\d+(\.\d+)?\b/.exec(text)?.[0] ?? "unknown";
  } catch {
    return "none";
  }
}

/** TE_COMMIT, where the sources were packed; else that of the clone. */
export function commit(): string {
  if (process.env.TE_COMMIT) return process.env.TE_COMMIT;
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8", stdio: "pipe" }).trim();
  } catch {
    return "unknown";
  }
}
