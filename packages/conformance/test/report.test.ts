/** The report: what counts as covered, what a failing test shows, and what the file does not depend on. */
import { describe, expect, test } from "vitest";
import { CASE_IDS } from "../src/behaviours.js";
import { toMarkdown, toText } from "../src/print.js";
import { makeReport, type Report } from "../src/report.js";
import type { TestResult } from "../src/run-tests.js";

const result = (title: string, more: Partial<TestResult> = {}): TestResult => ({
  file: "conformance/variables",
  title,
  device: undefined,
  passed: true,
  message: undefined,
  compared: { within: [], beyond: [] },
  ...more,
});
const reportOf = (...tests: TestResult[]): Promise<Report> => makeReport(async () => tests);
const casesOf = (report: Report, key: string) =>
  report.rows.flatMap(({ parameters }) => parameters).find(({ name }) => name === key)!.cases;

const compared = { backend: "cpu", dtype: "float32", error: 1e-7, tolerance: 2e-6 };

describe("the report", () => {
  test("a parameter without a case is uncovered, and so is an id without a test", async () => {
    const { uncovered, ids } = await reportOf(result("initializers LayerNorm.scaleInit"), result("F01 causal"));
    expect(uncovered).toContain("LayerNorm.biasInit");
    expect(uncovered).not.toContain("LayerNorm.scaleInit");
    expect(uncovered).toContain("F02");
    expect([ids.F01, CASE_IDS.length - 1]).toEqual([1, uncovered.filter((item) => /^[A-Z]\d\d$/.test(item)).length]);
  });

  test("a parameter that was judged on one backend only is uncovered on the other", async () => {
    const test = result("LayerNorm.scaleInit", { compared: { within: [compared], beyond: [] } });
    const { uncovered } = await reportOf(test);
    expect(uncovered).toContain("LayerNorm.scaleInit on reference");
    expect(uncovered).not.toContain("LayerNorm.scaleInit on cpu");
  });

  test("what could not run says why", async () => {
    const skipped = result("processes: there is no mpirun", { file: "conformance/meshes", skipped: true });
    const text = toText(await reportOf(skipped));
    expect(text).toMatch(/so they are on several processes +skipped: there is no mpirun/);
    expect(text).not.toMatch(/each axis splits what it is for.*skipped/);
  });

  test("what a test compared is its result; a test that fails shows what was beyond its limit", async () => {
    const beyond = [{ ...compared, error: 1 }];
    const passing = result("LayerNorm.scaleInit", { compared: { within: [compared], beyond } });
    const [good] = casesOf(await reportOf(passing), "LayerNorm.scaleInit");
    expect(good).toMatchObject({ backend: "cpu", dtype: "float32", maxError: 1e-7, tolerance: 2e-6, pass: true });
    const report = await reportOf({ ...passing, passed: false, message: "N = 1" });
    expect(casesOf(report, "LayerNorm.scaleInit")).toMatchObject([{ maxError: 1, pass: false, message: "N = 1" }]);
    expect(report.failing).toHaveLength(1);
    expect(toText(report)).toContain("fails on cpu: conformance/variables: LayerNorm.scaleInit: N = 1");
  });

  test("the file does not depend on how large errors were, nor on other backends", async () => {
    const markdown = async (...within: object[]) =>
      toMarkdown(
        await reportOf(
          result("LayerNorm.scaleInit", { compared: { within: within as [typeof compared], beyond: [] } }),
        ),
      );
    const once = await markdown(compared);
    expect(once).toContain("| `LayerNorm.scaleInit` | conformance/variables | cpu | float32 | 2.0e-6 | ok |");
    expect(await markdown({ ...compared, error: 3e-7 }, { ...compared, backend: "cuda", tolerance: 1 })).toBe(once);
  });
});
