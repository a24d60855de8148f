/** Passes, transformations, devices and judges know an op by what its definition says of it, and never by its name. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import "@te/fp8";
import "@te/layers";
import "@te/optim";
import "@te/transformer";
import { definedOps } from "@te/tensor/op";
import { expect, test } from "vitest";

const PACKAGES = fileURLToPath(new URL("../../", import.meta.url));
const FOLDERS = [
  "tensor/src/program",
  "tensor/src/transforms",
  "tensor/src/reference",
  "tensor/src/native",
  "kernels-cpu/src",
  "testkit/src",
];

/** What kernels of several devices join, of ops of a package that no device depends on. */
const JOINS = "tensor/src/native/optimizer-passes.ts";

/** Words that are names of ops too, and mean something else there. */
const OTHER_WORDS: Readonly<Record<string, readonly string[]>> = {
  // How a device gets an array: "copy" or "take".
  take: ["tensor/src/program/segments.ts", "tensor/src/native/", "kernels-cpu/src/backend.ts"],
  // A policy is what users write about ops.
  dot: ["tensor/src/transforms/checkpoint.ts"],
};

function sources(): { name: string; text: string }[] {
  return FOLDERS.flatMap((folder) => {
    let names: string[];
    try {
      names = readdirSync(join(PACKAGES, folder), { recursive: true, encoding: "utf8" });
    } catch {
      return [];
    }
    return names
      .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
      .map((name) => `${folder}/${name}`)
      .filter((name) => name !== JOINS)
      .map((name) => ({ name, text: readFileSync(join(PACKAGES, name), "utf8") }));
  });
}

/** Code without comments, which may speak of ops. */
const withoutComments = (text: string): string => text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");

/** Where a string of the code is the name of an op. */
function findNames(files: readonly { name: string; text: string }[], ops: Iterable<string>): string[] {
  const found: string[] = [];
  for (const op of ops)
    for (const { name, text } of files) {
      if (OTHER_WORDS[op]?.some((place) => name.startsWith(place))) continue;
      if (withoutComments(text).includes(`"${op}"`)) found.push(`${op} in ${name}`);
    }
  return found;
}

test("no pass, transformation, device or judge names an op", () => {
  const files = sources();
  expect(files.length).toBeGreaterThan(50);
  expect(definedOps().size).toBeGreaterThan(80);
  expect(findNames(files, definedOps().keys())).toEqual([]);
});

test("one that does is found", () => {
  const file = { name: "tensor/src/program/fuse.ts", text: 'if (node.op.name === "cast") skip();' };
  expect(findNames([file], definedOps().keys())).toEqual(["cast in tensor/src/program/fuse.ts"]);
});

const NATIVE = fileURLToPath(new URL("../../../native/cpu", import.meta.url));
const kernels = readdirSync(NATIVE, { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(cc|h)$/.test(name))
  .map((name) => ({ name, text: withoutComments(readFileSync(join(NATIVE, name), "utf8")) }));
/** Files of native/cpu that register a kernel or an instruction of this name. */
const registering = (op: string): string[] =>
  kernels
    .filter(({ text }) => new RegExp(`TE_[A-Z_]+\\(${op},|\\{"${op}",|op [!=]= "${op}"`).test(text))
    .map(({ name }) => name);

test("a kernel is registered in one file, an elementwise op as an instruction", () => {
  const ops = [...definedOps().values()];
  const elementwise = ops.filter((op) => op.elementwise === true).map(({ name }) => name);
  expect(elementwise).toContain("square");
  for (const op of elementwise) {
    const files = registering(op);
    expect(files, op).not.toEqual([]);
    for (const file of files) expect(file, op).toMatch(/^elementwise\/(instructions|code)\.h$/);
  }
  for (const { name } of ops.filter((op) => !op.elementwise)) expect(registering(name).length, name).toBeLessThan(2);
  expect(registering("layer_norm")).toEqual(["layer_norm.cc"]);
});
