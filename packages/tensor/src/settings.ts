/** The environment variables TE_…: what each may hold. A value that means nothing is named once, and not silently ignored. */
import { expectObject, expectString } from "./expect.js";
import { Lru } from "./lru.js";

const KERNELS = ["on", "off"];
const LOGS = ["compile", "passes", "partition"];

const said = new Lru<true>(1024);

/** One line on stderr, once for each `key`, which is the message unless given. */
export function warnOnce(message: string, key = message): void {
  if (said.get(key)) return;
  said.set(key, true);
  process.stderr.write(`te: ${message}\n`);
}

const list = (values: readonly string[]): string => values.map((value) => `"${value}"`).join(" or ");

/** Whether native kernels are to be used: TE_KERNELS, "on" (also where it is not set) or "off". */
export function wantsKernels(env: NodeJS.ProcessEnv = process.env): boolean {
  expectObject("wantsKernels", { env });
  const value = env.TE_KERNELS || "on";
  expectString("wantsKernels", { TE_KERNELS: value });
  if (!KERNELS.includes(value))
    warnOnce(`TE_KERNELS must be ${list(KERNELS)}, got "${value}"; native kernels are used where there are any.`);
  return value !== "off";
}

/** One line on stderr about what a subject of TE_LOG asked for. */
export function logLine(line: string): void {
  expectString("logLine", { line });
  process.stderr.write(`te: ${line}\n`);
}

/** Whether TE_LOG, a list with commas, asks for a line on stderr about `subject`. */
export function wantsLog(subject: string): boolean {
  expectString("wantsLog", { subject });
  const text = process.env.TE_LOG;
  if (!text) return false;
  const subjects = text.split(",").map((part) => part.trim());
  for (const other of subjects)
    if (!LOGS.includes(other)) warnOnce(`TE_LOG must be ${list(LOGS)}, got "${other}"; it is ignored.`);
  return subjects.includes(subject);
}
