// What vitest reported of the tests of each package, added up.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root } from "./setup/shell.mjs";

const folder = join(root, "node_modules/.te-tests");

/** An empty folder for reports: what TE_TEST_REPORT is to be. */
export function emptyReports() {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** The tests that passed, failed and were skipped. `code` is that of the run. */
export function addReports(code) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const name of readdirSync(folder)) add(total, count(JSON.parse(readFileSync(join(folder, name), "utf8"))));
  // A package that ended badly without a failed test (a crash, an unhandled error) is a failure too.
  if (code !== 0 && total.failed === 0) total.failed = 1;
  return total;
}

/** Adds the counts of more tests to a total. */
export function add(total, counts) {
  for (const key of Object.keys(counts)) total[key] += counts[key];
}

function count(report) {
  const broken = report.testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0);
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + (report.numTodoTests ?? 0),
  };
}
