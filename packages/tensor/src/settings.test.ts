/** Settings from the environment: what TE_KERNELS and TE_LOG mean, and what is said of other values. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { wantsKernels, wantsLog } from "./settings.js";

const lines: string[] = [];
beforeEach(() => {
  lines.length = 0;
  vi.spyOn(process.stderr, "write").mockImplementation((text) => lines.push(String(text)) > 0);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

test("TE_KERNELS is on, off or not set; anything else is said once and means on", () => {
  expect(wantsKernels({})).toBe(true);
  expect(wantsKernels({ TE_KERNELS: "" })).toBe(true);
  expect(wantsKernels({ TE_KERNELS: "on" })).toBe(true);
  expect(wantsKernels({ TE_KERNELS: "off" })).toBe(false);
  expect(lines).toEqual([]);
  for (let i = 0; i < 3; i++) expect(wantsKernels({ TE_KERNELS: "OFF" })).toBe(true);
  expect(lines).toEqual([
    'te: TE_KERNELS must be "on" or "off", got "OFF"; native kernels are used where there are any.\n',
  ]);
});

test("TE_LOG names what is logged; what it does not know is said once", () => {
  vi.stubEnv("TE_LOG", "");
  expect(wantsLog("compile")).toBe(false);
  vi.stubEnv("TE_LOG", "compile");
  expect(wantsLog("compile")).toBe(true);
  expect(lines).toEqual([]);
  vi.stubEnv("TE_LOG", "compile, everything");
  for (let i = 0; i < 3; i++) expect(wantsLog("compile")).toBe(true);
  expect(lines).toEqual([
    'te: TE_LOG must be "compile" or "passes" or "partition", got "everything"; it is ignored.\n',
  ]);
});
