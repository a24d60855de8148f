/** Recorded results are complete: every tensor that a case names is there. */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { readGolden } from "../src/index.js";

const groups = readdirSync(new URL("../goldens", import.meta.url))
  .filter((file) => file.endsWith(".safetensors"))
  .map((file) => file.replace(".safetensors", ""));

describe("recorded results", () => {
  test("there are some", () => expect(groups.length).toBeGreaterThan(0));

  test.each(groups)("%s: every tensor of every case is there", (group) => {
    const { cases, tensor } = readGolden(group);
    expect(cases.length).toBeGreaterThan(0);
    for (const of of cases) for (const name of of.tensors) expect(tensor(of, name).size).toBeGreaterThanOrEqual(0);
    expect(() => tensor(cases[0]!, "no such tensor")).toThrow("has no tensor no such tensor; it has ");
  });

  test.each(groups)("%s: tensors by prefix", (group) => {
    const { cases, tensors } = readGolden(group);
    const of = cases[0]!;
    const prefix = `${of.tensors[0]!.split("/")[0]}/`;
    const found = tensors(of, prefix);
    const names = of.tensors.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
    expect(Object.keys(found)).toEqual(names);
  });
});
