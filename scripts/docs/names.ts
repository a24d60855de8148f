/**
 * The table of names in README.md, made from the sources:
 *   names.ts            writes it
 *   names.ts --check    fails when it is stale
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Parameter, type PublicName, readOptions } from "@te/testkit/options";

/** Classes and functions with their names in Python, in the order of the table. */
const ROWS: readonly (readonly [name: string, python: string])[] = [
  ["MeshResource", "MeshResource"],
  ["extendLogicalAxisRules", "flax.extend_logical_axis_rules"],
  ["autocast", "autocast"],
  ["fp8Autocast", "fp8_autocast"],
  ["DelayedScaling", "recipe.DelayedScaling"],
  ["Float8CurrentScaling", "recipe.Float8CurrentScaling"],
  ["updateCollections", "update_collections"],
  ["LayerNorm", "flax.LayerNorm"],
  ["DenseGeneral", "flax.DenseGeneral"],
  ["LayerNormDenseGeneral", "flax.LayerNormDenseGeneral"],
  ["LayerNormMLP", "flax.LayerNormMLP"],
  ["RelativePositionBiases", "flax.RelativePositionBiases"],
  ["DotProductAttention", "flax.DotProductAttention"],
  ["MultiHeadAttention", "flax.MultiHeadAttention"],
  ["TransformerLayer", "flax.TransformerLayer"],
  ["TransformerLayerType", "flax.TransformerLayerType"],
];

const START = "<!-- names: made by scripts/docs/names.ts -->";
const END = "<!-- /names -->";

/** camelCase to the name in Python, where a number after some words stands apart. `fresh` is a reserved word's stand-in. */
function pythonName(name: string): string {
  if (name === "fresh") return "new";
  return name
    .replaceAll(/(?<=axes|dot|power)(\d)/gi, "_$1")
    .replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const row = (...cells: string[]): string => `| ${cells.join(" | ")} |`;
const code = (text: string): string => `\`${text}\``;

function parameterRow(parameter: Parameter): string {
  const { name, required } = parameter;
  const said = parameter.default === undefined ? "" : literal(parameter.default);
  const python = name === "fn" ? "the block of the `with` statement" : code(pythonName(name));
  return row(python, code(name), required ? "required" : said);
}

/** A value as code, a phrase as it is. */
const literal = (text: string): string => (/^[a-z]+,? [a-z]/.test(text) ? text : code(text));

function section(of: PublicName, python: string): string {
  const constants = Object.entries(of.values).map(([field, value]) => [field, `"${value}"`].map(code));
  const body =
    of.kind === "constant"
      ? table(
          "value",
          constants.map(([field, value]) => row(field!, field!, value!)),
        )
      : table("default", of.parameters.map(parameterRow));
  const call = of.call.length ? [`\nArguments of a call:\n\n${table("default", of.call.map(parameterRow))}`] : [];
  return details(`<code>${python}</code> → <code>${of.name}</code>`, [body, ...call].join("\n"));
}

const table = (last: string, rows: readonly string[]): string =>
  [row("Python", "TypeScript", last), "|---|---|---|", ...rows].join("\n");

const details = (title: string, body: string): string =>
  `<details>\n<summary>${title}</summary>\n\n${body}\n\n</details>`;

function axesSection(names: readonly PublicName[]): string {
  const axes = names.filter(({ name, kind }) => kind === "constant" && name.endsWith("_AXES"));
  const rows = axes.map(({ name, values }) => row(code(name), code(name), code(`"${values[""]}"`)));
  return details("Logical axes", table("value", rows));
}

function withTable(readme: string): string {
  const [before, rest] = readme.split(START);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error(`README.md must have ${START} and ${END}`);
  const names = readOptions(["@te/sharding", "@te/fp8", "@te/layers", "@te/transformer"]);
  const sections = ROWS.map(([name, python]) => {
    const found = names.find((of) => of.name === name);
    if (!found) throw new Error(`${name} is not exported`);
    return section(found, python);
  });
  return `${before}${START}\n\n${[axesSection(names), ...sections].join("\n\n")}\n\n${END}${after}`;
}

const path = resolve(import.meta.dirname, "../../README.md");
const readme = readFileSync(path, "utf8");
const next = withTable(readme);
if (next !== readme && process.argv.includes("--check")) {
  console.error("The table of names in README.md is stale: run npm run docs.");
  process.exitCode = 1;
} else if (next !== readme) writeFileSync(path, next);
