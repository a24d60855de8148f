/** Where the native build is looked for, and what is said when it is missing, broken or of another version. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { loadNative } from "./load.js";
import { lacking } from "./native.js";

const folders: string[] = [];
const emptyFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "te-load-"));
  folders.push(folder);
  return folder;
};
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

const reasonOf = (options: Parameters<typeof loadNative>[0]): string => {
  const found = loadNative(options);
  return "reason" in found ? found.reason : expect.fail(`loaded ${found.path}`);
};

describe("loadNative", () => {
  test("TE_KERNELS=off is the reason and nothing is loaded", () => {
    expect(reasonOf({ env: { TE_KERNELS: "off" } })).toBe("TE_KERNELS=off");
  });

  test.each([
    ["null", null, /^loadNative: options must be an object, got null/],
    ["an option of another name", { folder: [] }, /^loadNative: unknown option folder. Did you mean folders\?/],
    ["a folder instead of folders", { folders: "/" }, /^loadNative: folders must be an array of strings, got \//],
    ["builds that are no paths", { builds: [1] }, /^loadNative: builds must be an array of strings, got \[1\]/],
    ["no environment", { env: 5 }, /^wantsKernels: env must be an object, got 5/],
    ["a setting that is no text", { env: { TE_KERNELS: Symbol("on") } }, /^wantsKernels: TE_KERNELS must be a string/],
  ])("%s is an error", (_, options, message) => {
    expect(() => loadNative(options as any)).toThrow(message);
  });

  test("a folder named by TE_NATIVE_DIR is not replaced by another build", () => {
    const folder = emptyFolder();
    const reason = reasonOf({ env: { TE_NATIVE_DIR: folder } });
    expect(reason).toContain(`te_cpu.node does not exist in ${folder} (from TE_NATIVE_DIR)`);
    expect(reason).toContain("(1)");
    expect(reason).toContain("TE_KERNELS=off");
  });

  test("a broken build is named and never throws", () => {
    const broken = emptyFolder();
    writeFileSync(join(broken, "te_cpu.node"), "not a library");
    for (const found of [{ builds: [broken] }, { folders: [broken] }])
      expect(reasonOf({ env: {}, ...found })).toMatch(/te_cpu\.node does not load: /);
  });

  test("a build for another version is named, and what it lacks", () => {
    const all = { info: 1, setThreads: 2 };
    expect(lacking(all)).toBe("info");
    expect(lacking({ info: () => {} })).toBe("setThreads");
    const found = loadNative();
    if ("native" in found) expect(lacking(found.native)).toBeUndefined();
  });

  test("a build that is there loads: the tests of native code are not skipped by accident", () => {
    const folder = process.env.TE_NATIVE_DIR ?? fileURLToPath(new URL("../../../native/build", import.meta.url));
    if (process.env.TE_KERNELS === "off" || !existsSync(join(folder, "te_cpu.node"))) return;
    expect(loadNative()).toMatchObject({ path: join(folder, "te_cpu.node") });
  });

  test("what is no file is not opened", () => {
    const folder = emptyFolder();
    execFileSync("mkfifo", [join(folder, "te_cpu.node")]);
    expect(reasonOf({ env: { TE_NATIVE_DIR: folder } })).toContain(`te_cpu.node does not exist in ${folder}`);
  });

  test("TE_NATIVE_DIR may be seen from the folder of the process", () => {
    const folder = emptyFolder();
    writeFileSync(join(folder, "te_cpu.node"), "not a library");
    const reason = reasonOf({ env: { TE_NATIVE_DIR: relative(process.cwd(), folder) } });
    expect(reason).toContain(`${join(folder, "te_cpu.node")} does not load: `);
    expect(reason).not.toContain("absolute path");
  });

  test("the environment is as it was after loading", () => {
    const before = { ...process.env };
    loadNative();
    expect({ ...process.env }).toEqual(before);
  });

  test("without a build the platform package is asked for by name", () => {
    const found = loadNative({ env: {}, folders: [emptyFolder()], builds: [] });
    if ("reason" in found)
      expect(found.reason).toMatch(/@te\/kernels-cpu-\S+ is not installed, nor is|there are kernels for/);
    else expect(found.path).toContain("kernels-cpu-");
  });
});
