/** What users may say about products: where cuBLASLt is, how exact they are, and whether its algorithms are timed. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { runChildFully } from "./child.js";

const folder = mkdtempSync(join(tmpdir(), "te-products-"));
const log = join(folder, "log.txt");
const file = join(folder, "sub", "tuned.txt");
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  rmSync(log, { force: true });
  rmSync(file, { force: true });
});

/** Runs a script after `x`, 64 × 64 numbers near 1, on the emulated GPU; with the calls that its cuBLASLt saw. */
function run(body: string, env: Readonly<Record<string, string>> = {}) {
  const script = `import "@te/fp8"; te.setDevice("cuda");
    const x = te.arange(64 * 64).astype("float32").mul(1 / 4096).add(1).reshape([64, 64]);
    const first = async (t) => (await t.data())[0];
    ${body}`;
  const { lines, errors } = runChildFully(script, { TE_EMU_CUBLASLT_LOG: log, TE_TUNE_FILE: file, ...env });
  const calls = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
  rmSync(log, { force: true });
  const ours = errors.filter((line) => line.startsWith("te: ") && !line.includes("has no kernel on"));
  return { lines, errors: ours, calls, of: (kind: string) => calls.filter((line) => line.startsWith(kind)) };
}
const PRODUCT = `console.log(await first(te.dot(x, x)));`;
const algos = (calls: readonly string[]): string[] => calls.map((line) => /algo=(\d)/.exec(line)![1]!);

describe("algorithms", () => {
  test("are asked for once for each problem of a process", () => {
    const { of } = run(`
      for (const f of [(x) => te.dot(x, x), (x) => te.dot(x, x).add(1), (x) => te.dot(x, x, { dtype: "bfloat16" })])
        await first(te.jit(f)(x));`);
    // The third is rounded apart: cuBLASLt sees the same problem.
    expect(of("matmul").length).toBe(3);
    expect(of("heuristic").length).toBe(1);
  });

  test("are timed where TE_TUNE=1, and the fastest is stored and taken by later processes", () => {
    const twice = `const f = te.jit((x) => te.dot(x, x)); for (let i = 0; i < 3; i++) await first(f(x));`;
    const tuned = run(twice, { TE_TUNE: "1" });
    expect(new Set(algos(tuned.of("matmul")))).toEqual(new Set(["0", "1", "2", "3"]));
    expect(algos(tuned.of("matmul")).at(-1)).toBe("2");
    const [head, ...choices] = readFileSync(file, "utf8").trim().split("\n");
    expect(head).toBe("products of te, format 1");
    expect(choices.length).toBe(1);
    expect(tuned.errors).toEqual([]);

    expect(algos(run(PRODUCT).of("matmul"))).toEqual(["2"]);
    expect(algos(run(PRODUCT, { TE_TUNE: "1" }).of("matmul"))).toEqual(["2"]);
    expect(algos(run(PRODUCT, { TE_TUNE: "off" }).of("matmul"))).toEqual(["0"]);
    // Another problem is added.
    run(`await first(te.dot(x, x.slice([0, 0], [64, 32])));`, { TE_TUNE: "1" });
    expect(readFileSync(file, "utf8").trim().split("\n").length).toBe(3);
  });

  test.each([
    ["other text", () => "{}"],
    ["half of a line", (good: string) => good.slice(0, -40)],
    ["another format", (good: string) => good.replace("format 1", "format 2")],
  ])("a file that holds %s is left alone, with one sentence, and written again", (_, damage) => {
    run(PRODUCT, { TE_TUNE: "1" });
    const good = readFileSync(file, "utf8");
    writeFileSync(file, damage(good));
    const { lines, errors, of } = run(`${PRODUCT} ${PRODUCT} await first(te.dot(x, x.slice([0, 0], [64, 32])));`);
    expect(algos(of("matmul"))).toEqual(["0", "0", "0"]);
    expect(lines.length).toBe(2);
    expect(errors).toEqual([
      `te: TE_TUNE_FILE ${file} is damaged and is not used; products are timed again where TE_TUNE=1.`,
    ]);
    run(PRODUCT, { TE_TUNE: "1" });
    expect(readFileSync(file, "utf8")).toBe(good);
  });

  test("an algorithm that cuBLASLt does not accept any more is asked for again", () => {
    run(PRODUCT, { TE_TUNE: "1" });
    writeFileSync(
      file,
      readFileSync(file, "utf8")
        .replace(/[0-9a-f]{16}$/m, "f".repeat(16))
        .replace(/\t0{14}7e/, "\t0000000000000001"),
    );
    const { of, errors } = run(PRODUCT);
    expect(algos(of("matmul"))).toEqual(["0"]);
    expect(errors).toEqual([]);
  });

  test("a file that cannot be written is one sentence", () => {
    const { errors } = run(`${PRODUCT} await first(te.dot(x, x.slice([0, 0], [64, 32])));`, {
      TE_TUNE: "1",
      TE_TUNE_FILE: "/proc/none/tuned.txt",
    });
    expect(errors).toEqual(["te: TE_TUNE_FILE /proc/none/tuned.txt cannot be written."]);
  });
});

describe("precision", () => {
  test("TE_MATMUL_PRECISION: float32 unless TF32 is allowed, and only for float32", () => {
    const products = `${PRODUCT} console.log(await first(te.dot(x.astype("bfloat16"), x.astype("bfloat16"))));`;
    const flags = (precision: string) => run(products, { TE_MATMUL_PRECISION: precision });
    const highest = flags("highest");
    expect(highest.of("matmul").map((line) => /tf32=(\d)/.exec(line)![1])).toEqual(["0", "0"]);
    for (const lower of ["high", "default"]) {
      const { lines, of } = flags(lower);
      expect(of("matmul").map((line) => /tf32=(\d)/.exec(line)![1])).toEqual(["1", "0"]);
      expect(lines[0]).not.toBe(highest.lines[0]);
      expect(Number(lines[0])).toBeCloseTo(Number(highest.lines[0]), 0);
      expect(lines[1]).toBe(highest.lines[1]);
    }
    expect(flags("").lines).toEqual(highest.lines);
  });

  test.each([
    ["TE_MATMUL_PRECISION", "exact", "highest, high or default", "highest"],
    ["TE_FP8_ACCUMULATION", "slow", "fast or precise", "fast"],
    ["TE_TUNE", "yes", "0, 1 or off", "0"],
  ])("%s=%s is named once", (name, value, allowed, used) => {
    const { errors, of } = run(PRODUCT, { [name]: value });
    expect(errors).toEqual([`te: ${name} must be ${allowed}, got "${value}"; ${used} is used`]);
    expect(of("matmul").length).toBe(1);
  });

  test("FP8 products accumulate fast, those of gradients precisely", () => {
    const products = `
      import { scaledDotOp } from "@te/fp8";
      const scale = te.ones([1]);
      const product = (a, b) => scaledDotOp(
        { a: x.astype(a), b: x.astype(b), aScaleInv: scale, bScaleInv: scale }, { lhsContract: [1], rhsContract: [1] });
      for (const [a, b] of [["float8_e4m3fn", "float8_e4m3fn"], ["float8_e5m2", "float8_e4m3fn"], ["float8_e4m3fn", "float8_e5m2"]])
        await first(product(a, b).y);`;
    const fast = (env: Record<string, string>) =>
      run(products, env)
        .of("matmul")
        .map((line) => /fast=(\d)/.exec(line)![1]);
    expect(fast({})).toEqual(["1", "0", "0"]);
    expect(fast({ TE_FP8_ACCUMULATION: "precise" })).toEqual(["0", "0", "0"]);
  });
});

describe("without cuBLASLt", () => {
  const both = `${PRODUCT} ${PRODUCT} await first(te.dot(x.astype("float16"), x.astype("float16")));`;
  test.each([
    ["off", "TE_CUBLASLT=off"],
    [
      "/no/such/file.so",
      "cuBLASLt was not found: /no/such/file.so: cannot open shared object file: No such file or directory",
    ],
  ])("TE_CUBLASLT=%s: products go on, and one line says what that costs", (value, reason) => {
    const { lines, errors, calls } = run(both, { TE_CUBLASLT: value });
    expect(calls).toEqual([]);
    expect(lines.length).toBe(2);
    expect(errors).toEqual([
      `te: ${reason}. Products run on kernels of Transformer Engine, which are slower, and FP8 ones no faster than those in bfloat16.`,
    ]);
    expect(Number(lines[0])).toBeCloseTo(Number(run(PRODUCT).lines[0]), 3);
  });
});
