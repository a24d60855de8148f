// The table of names in README.md, made from the sources:
//   node scripts/docs/names.mjs           writes it
//   node scripts/docs/names.mjs --check   fails when it is stale

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { root, say } from "../setup/shell.mjs";
import { defaultsOf, membersOf, parametersOf, readDeclarations } from "./source.mjs";

/** Names of classes and functions, from Python to TypeScript, with the interface of their options. */
const ROWS = [
  { title: "MeshResource", package: "sharding", options: "MeshResourceOptions", otherwise: "null" },
  { title: "autocast", package: "fp8", options: "AutocastOptions", python: "autocast" },
  { title: "fp8Autocast", package: "fp8", options: "Fp8AutocastOptions", python: "fp8_autocast" },
  { title: "DelayedScaling", package: "fp8", options: "DelayedScalingOptions", python: "recipe.DelayedScaling" },
  {
    title: "Float8CurrentScaling",
    package: "fp8",
    options: "Float8CurrentScalingOptions",
    python: "recipe.Float8CurrentScaling",
    optional: true,
  },
  ...["LayerNorm", "DenseGeneral", "LayerNormDenseGeneral", "LayerNormMLP"].map((title) => module("layers", title)),
  ...["RelativePositionBiases", "DotProductAttention", "MultiHeadAttention", "TransformerLayer"].map((title) =>
    module("transformer", title),
  ),
];

function module(name, title) {
  return { title, package: name, options: `${title}Options`, python: `flax.${title}`, method: "call" };
}

/** camelCase to the name in Python, which sets a number apart after a word but not after a type. */
export const pythonName = (name) =>
  name.replaceAll(/(?<=axes|dot|power)(\d)/gi, "_$1").replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function section(declarations, row) {
  const defaults = defaultsOf(declarations, row.title);
  const members = membersOf(declarations, row.options);
  const lines = members.map((member) => {
    const value = defaultText(member, defaults, row.otherwise);
    return `| \`${pythonName(member.name)}\` | \`${member.name}\` | ${value} |`;
  });
  return [
    "<details>",
    `<summary><code>${row.python ?? row.title}</code> → <code>${row.title}</code></summary>`,
    "",
    ...(row.method ? [callLine(declarations, row), ""] : []),
    "| Python | TypeScript | default |",
    "|---|---|---|",
    ...lines,
    "",
    "</details>",
  ].join("\n");
}

/** The default in the table of the class, else what the comment says of it. */
function defaultText({ name, required, comment }, defaults, otherwise) {
  if (required) return "required";
  const value = defaults?.get(name);
  if (value !== undefined && value !== "undefined") return `\`${value.replaceAll(/\s+/g, " ")}\``;
  const [, said] = /Default:? (?!false;|true;)(.+?)\.(?: |$)/.exec(comment) ?? [];
  const [, marked] = /(\S+|"[^"]+") \(default\)/.exec(comment) ?? [];
  if (said) return code(said);
  if (marked) return code(marked);
  return otherwise ? code(otherwise) : "none";
}

const code = (text) => (/^[\w."'[\](){}, -]+$/.test(text) && !/ \w+ \w+/.test(text) ? `\`${text}\`` : text);

/** How the module is called, in both languages. */
function callLine(declarations, { title, method }) {
  const parameters = parametersOf(declarations, title, method);
  const options = parameters.flatMap(({ keys }) => keys ?? []);
  const named = parameters.flatMap(({ name }) => (name ? [name] : []));
  const python = [...named, ...options].map(pythonName).join(", ");
  const typescript = [...named, ...(options.length ? [`{ ${options.join(", ")} }`] : [])].join(", ");
  return `Called as \`module(${python})\` in Python, as \`module.apply(variables, ${typescript})\` here.`;
}

const START = "<!-- names: made by scripts/docs/names.mjs -->";
const END = "<!-- /names -->";

/** The logical axes and their values. */
function axesSection(declarations) {
  const names = [...declarations.keys()].filter((name) => /^[A-Z_]+_AXES$/.test(name));
  const values = names.map((name) => [name, declarations.get(name).initializer.getText()]);
  const lines = values
    .filter(([, value]) => value.startsWith('"nvte_'))
    .map(([name, value]) => `| \`${name}\` | \`${name}\` | \`${value}\` |`);
  const summary = "<summary>Logical axes</summary>";
  return [
    "<details>",
    summary,
    "",
    "| Python | TypeScript | value |",
    "|---|---|---|",
    ...lines,
    "",
    "</details>",
  ].join("\n");
}

function withTable(readme) {
  const [before, rest] = readme.split(START);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error(`README.md must have ${START} and ${END}`);
  const declarations = readDeclarations();
  const rows = ROWS.filter(({ title, optional }) => !optional || declarations.has(title));
  const sections = [axesSection(declarations), ...rows.map((row) => section(declarations, row))];
  return `${before}${START}\n\n${sections.join("\n\n")}\n\n${END}${after}`;
}

/** Writes the table, or with `check` only tells whether it is the one that the sources give. Returns an exit code. */
export function names({ check = false } = {}) {
  const path = join(root, "README.md");
  const readme = readFileSync(path, "utf8");
  const next = withTable(readme);
  if (next === readme) return 0;
  if (check) {
    say("The table of names in README.md is stale: run npm run docs.");
    return 1;
  }
  writeFileSync(path, next);
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.exitCode = names({ check: process.argv.includes("--check") });
