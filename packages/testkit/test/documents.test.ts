/** Documents that stay true: their programs run, their commands and files exist, their claims are printed by a command. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commandsOf, documents, filesBelow, filesNamed, programOf, promisedOutput, root } from "./documents.js";

const scratch = join(import.meta.dirname, "../out/documents");
const programs = documents.flatMap((document) => {
  const program = programOf(document);
  return program ? [{ path: document.path, program, file: `${document.path.replaceAll("/", "-")}.ts` }] : [];
});
const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

test("there are documents, and their blocks are programs or commands", () => {
  expect(programs.length).toBeGreaterThan(7);
  for (const { path, blocks } of documents)
    for (const { language, code } of blocks) expect(["ts", "sh"], `${path}: ${code.slice(0, 40)}`).toContain(language);
});

/** Other work on the machine makes a compiler slow. */
const PATIENCE = { timeout: 240_000 };

/** The example prints a step and its loss in every line. */
function expectLearning(output: string): void {
  const losses = output
    .trim()
    .split("\n")
    .map((line) => Number(line.split(" ")[1]));
  expect(losses).toHaveLength(20);
  expect(losses.at(-1)!).toBeLessThan(losses[0]! * 0.9);
}

describe("programs", () => {
  beforeAll(() => {
    mkdirSync(scratch, { recursive: true });
    for (const { file, program } of programs) writeFileSync(join(scratch, file), program);
    const files = programs.map(({ file }) => file);
    writeFileSync(join(scratch, "tsconfig.json"), JSON.stringify({ extends: "../../../../tsconfig.base.json", files }));
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  test("type-check", PATIENCE, () => {
    execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", scratch], { stdio: "inherit" });
  });

  const run = (file: string) =>
    promisify(execFile)(process.execPath, ["--conditions=@te/source", "--import", "tsx", file], { cwd: scratch });

  test.each(programs.map((one) => [one.path, one] as const))("%s runs", PATIENCE, async (path, { file, program }) => {
    const { stdout, stderr } = await run(file);
    const plain = (text: string): string => text.replaceAll(/\s/g, "");
    for (const promised of promisedOutput(program)) expect(plain(stdout)).toContain(plain(promised));
    expect(stderr.split("\n").filter((line) => line && !/reference|Warning/.test(line))).toEqual([]);
    if (path === "README.md") expectLearning(stdout);
  });
});

describe("commands", () => {
  const commands = documents.flatMap(commandsOf);
  const manifest = json(join(root, "package.json"));
  const runner = readFileSync(join(root, "scripts/run.mjs"), "utf8");
  const workspaces = filesBelow(root, /^package\.json$/).map((path) => ({ path, ...json(path) }));

  /** The sources that read the arguments of a script, or none. */
  function sourcesOf(script: string, workspace?: { path: string; scripts: Record<string, string> }): string {
    const entry = workspace
      ? /\bsrc\/\S+\.ts/.exec(workspace.scripts[script]!)?.[0]
      : new RegExp(`^  async "?${script}"?\\([^)]*\\) \\{(?:\\n   .*)*?program\\("([^"]+)"`, "m").exec(runner)?.[1];
    if (!entry) return "";
    const folder = dirname(join(workspace ? dirname(workspace.path) : root, entry));
    return filesBelow(folder, /\.ts$/)
      .map((path) => readFileSync(path, "utf8"))
      .join("\n");
  }

  test.each(commands.map(({ document, text }) => [text, document]))("%s (%s)", (text) => {
    const [before = "", after = ""] = text!.split(" -- ");
    const words = before.split(" ").filter((word) => word !== "-s" && word !== "--");
    if (words[0] === "node") return void expect(existsSync(join(root, words[1]!))).toBe(true);
    if (words[0] === "npx") return void expect(existsSync(join(root, "node_modules/.bin", words[1]!))).toBe(true);
    // See mesh-commands.test.ts.
    if (words[0] === "mpirun") return void expect(words).toContain("node");
    expect(words[0], "commands are of npm, npx, node or mpirun").toBe("npm");
    if (/^(ci|install|pack)$/.test(words[1]!)) return;
    const script = words[1] === "run" ? words[2]! : words[1]!;
    const name = words.includes("-w") ? words[words.indexOf("-w") + 1] : undefined;
    const workspace = name ? workspaces.find((one) => one.name === name) : undefined;
    if (name) expect(workspace, name).toBeDefined();
    expect(Object.keys((workspace ?? manifest).scripts)).toContain(script);

    const sources = sourcesOf(script, workspace);
    const named = after.split(" ").filter((word) => /^(--)?[a-z][a-z0-9-]+$/.test(word));
    for (const word of named) expect(sources, word).toMatch(new RegExp(`\\b${word.replace(/^--/, "")}\\b`));
  });
});

test("files that documents name are there", () => {
  const missing = documents.flatMap((document) =>
    filesNamed(document)
      .filter(({ candidates }) => !candidates.some((path) => existsSync(path)))
      .map(({ name }) => `${document.path}: ${name}`),
  );
  expect(missing).toEqual([]);
});

test("every source file opens with the sentence that says what is in it", () => {
  const sources = ["packages", "examples", "scripts", "native"]
    .flatMap((folder) => filesBelow(join(root, folder), /\.(ts|mjs|cc|h|cu|cuh)$/))
    .filter((path) => !/\.(d|config)\.ts$/.test(path));
  expect(sources.length).toBeGreaterThan(500);
  const opens = /^(#!.*\n)?\/(\*\*(\n \*)?|\/) \S/;
  const without = sources.filter((path) => !opens.test(readFileSync(path, "utf8")));
  expect(without.map((path) => relative(root, path))).toEqual([]);
});

test("variables that documents name are read somewhere", () => {
  const sources = ["packages", "scripts", "native"]
    .flatMap((folder) => filesBelow(join(root, folder), /\.(ts|mjs|cc|h|txt)$/))
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");
  const known = new Set(sources.match(/\bTE_[A-Z_]+\b/g));
  const named = new Set(documents.flatMap(({ text }) => text.match(/\bTE_[A-Z_]+\b/g) ?? []));
  expect([...named].filter((name) => !known.has(name))).toEqual([]);
});

test("a claim of speed stands beside the command that prints it", () => {
  const claims = documents.flatMap(({ path, text }) =>
    text
      .split(/\n\s*\n/)
      .filter((paragraph) => /\b(times|twice|as) (as )?(slow|fast)(er)?\b|\btimes (longer|more)\b/.test(paragraph))
      .filter((paragraph) => !/npm run (bench|demo)/.test(paragraph))
      .map((paragraph) => `${path}: ${paragraph.slice(0, 100)}`),
  );
  expect(claims).toEqual([]);
});
