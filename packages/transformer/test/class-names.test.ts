/** Variables are named after classes, so a class keeps its name where a bundler shortens names. */
import * as layers from "@te/layers";
import { expect, test } from "vitest";
import * as transformer from "../src/index.js";

const modules = Object.entries({ ...layers, ...transformer }).filter(
  ([, value]) => typeof value === "function" && value.prototype instanceof layers.Module,
);

test("there are modules", () => {
  expect(modules.length).toBeGreaterThanOrEqual(10);
});

test.each(modules)("%s says its name itself", (name, module) => {
  // The name that the language gives is not enumerable.
  expect(Object.getOwnPropertyDescriptor(module, "name")).toMatchObject({ value: name, enumerable: true });
});
