/** The documents of the repository: their code blocks as programs, their commands, and the names that they use. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../../..");

export interface CodeBlock {
  readonly language: string;
  readonly code: string;
}

export interface Document {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly CodeBlock[];
}

const SKIPPED = /^(node_modules|dist|out|build.*|cases|\..*)$/;

/** Every file below a folder, but for what is made or installed. */
export function filesBelow(folder: string, extension: RegExp): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED.test(entry.name) ? [] : filesBelow(path, extension);
    return extension.test(entry.name) ? [path] : [];
  });
}

export const documents: readonly Document[] = filesBelow(root, /\.md$/)
  .filter((path) => !path.endsWith("CHANGELOG.md"))
  .map((path) => {
    const text = readFileSync(path, "utf8");
    const blocks = [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)];
    return {
      path: relative(root, path),
      text,
      blocks: blocks.map(([, language, code]) => ({ language: language!, code: code! })),
    };
  });

const IMPORT = /^import (?:\{([^}]*)\} from )?("[^"]+");\n/gm;

/**
 * The TypeScript blocks of a document as one program, read from the top: a block sees the names of those before it, and
 * may use them for something else. Undefined for a document without any.
 */
export function programOf({ blocks }: Document): string | undefined {
  const code = blocks.filter(({ language }) => language === "ts").map((block) => block.code);
  if (code.length === 0) return undefined;
  const imports = new Map<string, Set<string>>();
  for (const [, names = "", module] of code.flatMap((text) => [...text.matchAll(IMPORT)])) {
    const known = imports.get(module!) ?? new Set();
    for (const name of names.split(",").map((part) => part.trim())) if (name) known.add(name);
    imports.set(module!, known);
  }
  const head = [...imports].map(([module, names]) => `import { ${[...names].join(", ")} } from ${module};\n`);
  return `${head.join("")}${code.map((text) => `{\n${text.replaceAll(IMPORT, "")}`).join("")}${"}\n".repeat(code.length)}`;
}

/** What the comments behind console.log promise to be printed: values, not prose. */
export const promisedOutput = (program: string): string[] =>
  [...program.matchAll(/console\.log\(.*\); \/\/ ([[{"\d].*)$/gm)]
    .map(([, text]) => text!)
    .filter((text) => !text.includes("…"));

export interface Command {
  readonly document: string;
  /** Without comments and variables. */
  readonly text: string;
}

/** The commands of shell blocks and those that stand in the text. */
export function commandsOf({ path, text, blocks }: Document): Command[] {
  const lines = blocks.filter(({ language }) => language === "sh").flatMap(({ code }) => code.split("\n"));
  const inline = [...text.matchAll(/`((?:npm|npx|node) [^`]+)`/g)].map(([, command]) => command!);
  return [...lines, ...inline]
    .map((line) => line.replace(/\s+#.*$/, "").trim())
    .map((line) => line.replace(/^([A-Z_]+=\S+ )+/, ""))
    .filter(Boolean)
    .map((command) => ({ document: path, text: command }));
}

/** Repository files that a document names in code: from the root, from its own folder, or from a package's sources. */
export const filesNamed = ({ path, text }: Document): { name: string; candidates: string[] }[] =>
  [...text.matchAll(FILE)].map(([, name]) => {
    const [top, ...below] = name!.split("/");
    const sources = join(root, "packages", top!, "src", ...below);
    return { name: name!, candidates: [join(root, name!), join(root, dirname(path), name!), sources] };
  });

const FOLDERS =
  "packages|scripts|native|examples|docs|src|test|data|tensor|layers|fp8|transformer|sharding|optim|kernels-cpu|checkpoint";
const FILE = new RegExp(`\`((?:${FOLDERS})\\/[\\w./-]+\\.(?:ts|mjs|cc|h|md|json|txt))\``, "g");
