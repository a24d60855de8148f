/** Joins what was read from the source, what the tests compared, and which of them prove what. */
import { BEHAVIOURS, CASE_IDS } from "./behaviours.js";
import { readGoldens } from "./goldens.js";
import { itemsOf, PAGE, readPage } from "./page.js";
import { PROOFS } from "./proofs.js";
import { REFUSALS, type Refused, tryRefusal } from "./refusals.js";
import { runOnBackends, type TestResult } from "./run-tests.js";

/** One test on one backend in one dtype, against one limit. */
export interface CaseResult {
  readonly id: string;
  /** "any" where the test does not depend on it. */
  readonly backend: string;
  readonly dtype: string;
  /** The largest N that was measured, and its limit; zeros where the test asks for exact results. */
  readonly maxError: number;
  readonly tolerance: number;
  readonly pass: boolean;
  /** It could not run here: its id says why. */
  readonly skipped?: true;
  /** Why it failed. */
  readonly message?: string;
}

export interface ItemReport {
  readonly name: string;
  readonly cases: readonly CaseResult[];
}

export interface RowReport {
  readonly name: string;
  readonly parameters: readonly ItemReport[];
  readonly behaviours: readonly ItemReport[];
  readonly refused: readonly Refused[];
}

export interface Report {
  readonly rows: readonly RowReport[];
  /** How many tests the cases of the conformance list have, by id. */
  readonly ids: Readonly<Record<string, number>>;
  /** Parameters and behaviours without a case, ids without a test, and what was to be refused and was not. */
  readonly uncovered: readonly string[];
  readonly failing: readonly CaseResult[];
}

/** Files whose tests replay recorded cases, with the id of the case at the end or before a colon. */
const GOLDEN_FILES = ["layers/golden", "layers/golden-fp8", "transformer/golden", "transformer/golden-fp8"];
/** Files of this package whose tests are titled with the parameter that they exercise. */
const OWN_FILES = ["variables", "constraints", "fused-modules", "attention-module", "products", "refusals"].map(
  (file) => `conformance/${file}`,
);

/**
 * Runs every test that proves something, and says what is proved. `run` gives the results of files of tests. What is compared
 * with a limit has to be right on each of the backends.
 */
export async function makeReport(
  run: (files: readonly string[]) => Promise<TestResult[]> = runOnBackends,
  backends: readonly string[] = ["reference", "cpu"],
): Promise<Report> {
  const names = readPage();
  const items = Object.keys(PAGE).flatMap((row) => itemsOf(row, names));
  const goldens = readGoldens(names, items);
  const index = new TestIndex(await run(neededFiles()), [...goldens.keys()]);
  const byItem = (key: string) => [
    ...[...goldens].filter(([, keys]) => keys.includes(key)).flatMap(([id]) => index.golden(id)),
    ...index.titled(key),
    ...refusalsOf(key).flatMap((ref) => index.find(ref)),
    ...PROOFS.filter(({ covers }) => covers.includes(key)).flatMap(({ by }) => by.flatMap((ref) => index.find(ref))),
  ];
  const rows = Object.keys(PAGE).map((name) => ({
    name,
    parameters: itemsOf(name, names).map(({ key }) => ({ name: key, cases: index.results(byItem(key)) })),
    behaviours: BEHAVIOURS.filter(({ row }) => row === name).map(({ says, by }) => ({
      name: says,
      cases: index.results(by.flatMap((ref) => index.find(ref))),
    })),
    refused: REFUSALS.filter(({ row }) => row === name).map(tryRefusal),
  }));
  const ids = Object.fromEntries(CASE_IDS.map((id) => [id, index.countOf(id)]));
  const uncovered = [
    ...rows.flatMap((row) =>
      [...row.parameters, ...row.behaviours].filter(isBare).map(({ name }) => labelOf(row, name)),
    ),
    ...rows.flatMap(({ parameters }) => parameters.flatMap((item) => missingBackends(item, backends))),
    ...CASE_IDS.filter((id) => ids[id] === 0),
    ...rows.flatMap((row) => row.refused.filter(({ code }) => !code).map(({ what }) => `${row.name} accepts ${what}`)),
    ...unknownKeys(items.map(({ key }) => key)),
    ...index.missing,
  ];
  return { rows, ids, uncovered, failing: index.failing() };
}

/** The tests that show that an option is refused whatever its value, but for the one that leaves it alone. */
const refusalsOf = (key: string): string[] =>
  REFUSALS.filter(
    (refusal) => `${refusal.row}.${refusal.option}` === key && tryRefusal(refusal).code === "unsupported",
  ).map(({ row, what }) => `conformance/refusals: what is refused ${row}: ${what}`);

const isBare = ({ cases }: ItemReport): boolean => cases.length === 0;

function missingBackends({ name, cases }: ItemReport, wanted: readonly string[]): string[] {
  const present = new Set(cases.filter(({ tolerance }) => tolerance > 0).map(({ backend }) => backend));
  if (!wanted.some((backend) => present.has(backend))) return [];
  return wanted.filter((backend) => !present.has(backend)).map((backend) => `${name} on ${backend}`);
}

const labelOf = ({ name }: { name: string }, item: string): string =>
  item.startsWith(name) ? item : `${name}: ${item}`;

/** Proofs of what no row has any more. */
const unknownKeys = (known: readonly string[]): string[] =>
  PROOFS.flatMap(({ covers }) => covers)
    .filter((key) => !known.includes(key))
    .map((key) => `${key} is proved, and no row has it`);

function neededFiles(): string[] {
  const refs = [...PROOFS, ...BEHAVIOURS].flatMap(({ by }) => by).filter((ref) => !ref.startsWith("golden: "));
  return [...new Set([...GOLDEN_FILES, ...OWN_FILES, ...refs.map((ref) => ref.slice(0, ref.indexOf(": ")))])];
}

class TestIndex {
  private readonly byGolden = new Map<string, TestResult[]>();
  /** What was asked for and is not there. */
  readonly missing = new Set<string>();

  constructor(
    private readonly tests: readonly TestResult[],
    goldenIds: readonly string[],
  ) {
    const known = new Set(goldenIds);
    for (const test of tests) {
      const id = test.title.split(" ").find((word) => known.has(word.replace(/:$/, "")));
      if (id) this.byGolden.set(id.replace(/:$/, ""), [...(this.byGolden.get(id.replace(/:$/, "")) ?? []), test]);
    }
  }

  /** The tests that replay a recorded case; there must be one. */
  golden(id: string): readonly TestResult[] {
    return this.byGolden.get(id) ?? this.none(`no test replays the recorded case ${id}`);
  }

  /** The tests of this package that have the key in their title. */
  titled(key: string): TestResult[] {
    return this.tests.filter(({ file, title }) => OWN_FILES.includes(file) && title.split(/[ :]/).includes(key));
  }

  /** The tests that "package/file: beginning" or "golden: beginning" means; there must be one. */
  find(ref: string): readonly TestResult[] {
    const [file, start] = [ref.slice(0, ref.indexOf(": ")), ref.slice(ref.indexOf(": ") + 2)];
    const found =
      file === "golden"
        ? [...this.byGolden].filter(([id]) => id.startsWith(start)).flatMap(([, tests]) => tests)
        : this.tests.filter((test) => test.file === file && test.title.startsWith(start));
    return found.length ? found : this.none(`no test begins with "${ref}"`);
  }

  private none(why: string): readonly TestResult[] {
    this.missing.add(why);
    return [];
  }

  countOf(id: string): number {
    return this.tests.filter(({ title }) => title.split(/[ :]/).includes(id)).length;
  }

  failing(): CaseResult[] {
    return this.results(this.tests.filter(({ passed }) => !passed));
  }

  results(tests: readonly TestResult[]): CaseResult[] {
    return [...new Set(tests)].flatMap(resultsOf);
  }
}

function resultsOf({ file, title, device, passed, skipped, message, compared }: TestResult): CaseResult[] {
  const verdict = { id: `${file}: ${title}`, pass: passed, ...(skipped && { skipped }), ...(message && { message }) };
  const comparisons = passed || compared.beyond.length === 0 ? compared.within : compared.beyond;
  if (comparisons.length === 0)
    return [{ ...verdict, backend: device ?? "any", dtype: "any", maxError: 0, tolerance: 0 }];
  return comparisons.map(({ backend, dtype, error, tolerance }) => ({
    ...verdict,
    backend,
    dtype,
    maxError: error,
    tolerance,
  }));
}
