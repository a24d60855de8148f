/** The report as a table for people, and as docs/conformance.md. */
import type { CaseResult, ItemReport, Report, RowReport } from "./report.js";

/** What a set of cases shows, without anything that depends on the machine. */
interface Summary {
  readonly tests: string;
  readonly backends: string;
  readonly dtypes: string;
  readonly limit: string;
  readonly verdict: string;
}

/** Backends that every machine has. Others are reported, but do not belong in a file that is the same everywhere. */
const EVERYWHERE = ["reference", "cpu"];
const DTYPES = ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"];

const inOrder = (values: Iterable<string>, order: readonly string[]): string[] => {
  const present = new Set(values);
  return [...order.filter((value) => present.has(value)), ...[...present].filter((v) => !order.includes(v)).sort()];
};
const plain = (value: string): boolean => value !== "any";

function summarize(cases: readonly CaseResult[]): Summary {
  const here = cases.filter(({ backend }) => backend === "any" || EVERYWHERE.includes(backend));
  const limits = here.map(({ tolerance }) => tolerance).filter((limit) => limit > 0);
  return {
    tests: inOrder(here.map(shortId), []).join(", "),
    backends: inOrder(here.map(({ backend }) => backend).filter(plain), EVERYWHERE).join(", "),
    dtypes: inOrder(here.map(({ dtype }) => dtype).filter(plain), DTYPES).join(", "),
    limit:
      [...new Set([Math.min(...limits), Math.max(...limits)])].filter(Number.isFinite).map(shown).join(" – ") ||
      "exact",
    verdict: here.length === 0 ? "uncovered" : here.every(({ pass }) => pass) ? "ok" : "FAILS",
  };
}

/** Two digits: limits of small arrays are wider by what depends on their size. */
const shown = (limit: number): string => (limit < 1e-3 ? limit.toExponential(1) : String(Number(limit.toPrecision(2))));

/** The id of the conformance list or of the recorded case, else the file. */
function shortId({ id }: CaseResult): string {
  const [file, title] = [id.slice(0, id.indexOf(": ")), id.slice(id.indexOf(": ") + 2)];
  const listed = /\b[A-Z]\d\d\b/.exec(title)?.[0];
  if (listed) return listed;
  const isRecorded = /golden|delayed-scaling/.test(file) && / recorded |^recorded /.test(title);
  return isRecorded ? "recorded" : file;
}

/** docs/conformance.md. The same on every machine on which the report is the same. */
export function toMarkdown({ rows, ids }: Report): string {
  return `${[
    "# Conformance",
    "",
    "What Transformer Engine's JAX page names, and what proves it here. Written by `npm run conformance -- --write`; `npm run conformance -- --check`",
    "fails when this file is not what the tests say. Parameters are read from the source: one without a case makes the command fail.",
    "",
    "- *Cases*: ids of the conformance list (`F01`), `recorded` for runs of the original that are replayed, otherwise files of tests.",
    "- *Limit*: the smallest and the largest N = ‖result − reference‖ / ‖reference‖ that cases may have, by dtype and by what is compared; `exact` where only",
    "  bits, codes, names or errors are.",
    "- Backends: the reference evaluator and the native CPU kernels; none where a case does not compute anything.",
    "",
    ...rows.flatMap(rowToMarkdown),
    "## Cases of the conformance list",
    "",
    ...table(
      ["Id", "Tests"],
      Object.entries(ids).map(([id, count]) => [id, count > 0 ? "yes" : "none"]),
    ),
    "X05 is `npm run mutants`; E03 is in the tests of `examples/mnist`.",
  ].join("\n")}\n`;
}

function rowToMarkdown({ name, parameters, behaviours, refused }: RowReport): string[] {
  const lines = (items: readonly ItemReport[], code: boolean) =>
    items.map(({ name, cases }) => {
      const { tests, backends, dtypes, limit, verdict } = summarize(cases);
      return [code ? `\`${name}\`` : name, tests, backends, dtypes, limit, verdict];
    });
  const columns = ["Cases", "Backends", "Dtypes", "Limit", ""];
  return [
    `## ${name}`,
    "",
    ...table(["Parameter", ...columns], lines(parameters, true)),
    ...(behaviours.length ? table(["Behaviour", ...columns], lines(behaviours, false)) : []),
    ...(refused.length
      ? table(
          ["Refused", "Code", "Message"],
          refused.map(({ what, code, message }) => [what, code ?? "accepted", message ?? ""]),
        )
      : []),
  ];
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function table(head: readonly string[], lines: readonly (readonly string[])[]): string[] {
  const row = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;
  return [row(head), `|${"---|".repeat(head.length)}`, ...lines.map(row), ""];
}

/** A table on the terminal: errors as measured. */
export function toText({ rows, uncovered, failing }: Report): string {
  const lines = rows.flatMap(({ name, parameters, behaviours, refused }) => [
    "",
    name,
    ...[...parameters, ...behaviours].map(({ name, cases }) => `  ${name.padEnd(52)} ${measured(cases)}`),
    ...refused.map(({ what, code }) => `  refuses ${what.padEnd(44)} ${code ?? "ACCEPTED"}`),
  ]);
  const bad = [
    ...uncovered.map((item) => `uncovered: ${item}`),
    ...failing.map(({ id, backend, message }) => `fails on ${backend}: ${id}: ${message ?? ""}`),
  ];
  const items = rows.flatMap(({ parameters, behaviours }) => [...parameters, ...behaviours]);
  const verdict = bad.length ? `${bad.length} to mend` : "all pass";
  return [...lines, "", ...bad, `conformance: ${items.length} parameters and behaviours, ${verdict}`].join("\n");
}

/** The case that is nearest to its limit. */
function measured(cases: readonly CaseResult[]): string {
  if (cases.length === 0) return "UNCOVERED";
  const skipped = cases.find((of) => of.skipped);
  if (skipped) return `           skipped: ${skipped.id.replace(/^.*?processes: /, "")}`;
  const share = ({ maxError, tolerance }: CaseResult): number => (tolerance === 0 ? maxError : maxError / tolerance);
  const [worst] = [...cases].sort((a, b) => Number(a.pass) - Number(b.pass) || share(b) - share(a));
  const { maxError, tolerance, backend, dtype, pass } = worst!;
  const error = tolerance === 0 ? "exact" : `${maxError.toExponential(1)} of ${tolerance} (${backend}, ${dtype})`;
  return `${String(cases.length).padStart(4)} cases  ${pass ? "ok" : "FAILS"}  ${error}`;
}
