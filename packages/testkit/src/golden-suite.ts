/** Declares the tests of recorded calls of modules: initial variables, results and gradients, on every device. */
import type { Module } from "@te/layers";
import { describe, test } from "vitest";
import { onEachDevice } from "./devices.js";
import {
  argumentsOf,
  deviceVariables,
  expectInitialVariables,
  expectRecorded,
  initialVariables,
  type LimitFor,
  optionsOf,
  recordedParameters,
  replay,
} from "./golden-replay.js";
import { type GoldenCase, readGolden } from "./goldens.js";

/** Makes the module of a case; `options` are the recorded ones as this library spells them. */
export type ModuleOf = (of: GoldenCase, options: Record<string, any>) => Module;

export function testRecorded(group: string, make: ModuleOf, limitFor: LimitFor): void {
  const golden = readGolden(group);
  const setUp = (of: GoldenCase) => {
    const module = make(of, optionsOf(of));
    const args = argumentsOf(of, golden.tensors(of, "in/"));
    return { module, args, variables: initialVariables(of, module, args) };
  };
  const cases = golden.cases.map((of) => [of.id, of] as const);
  describe(`${group}, recorded`, () => {
    onEachDevice(() => {
      test.each(cases)("%s: initial variables", (_, of) => {
        const { module, args } = setUp(of);
        expectInitialVariables(golden, of, deviceVariables(of, module, args));
      });
      test.each(cases)("%s", (_, of) => {
        const { module, variables } = setUp(of);
        const params = recordedParameters(golden, of, variables);
        expectRecorded(golden, of, replay(golden, of, module, params), limitFor);
      });
    });
  });
}
