/** Rules from logical axis names to mesh axes: extending them, putting them in force, applying them. */
import { createScope, expectArray, fail } from "@te/tensor/op";
import { type LogicalAxisRule, layerAxes, logicalAxisTable } from "./logical-axes.js";
import { PartitionSpec } from "./partition-spec.js";

/**
 * The rules, followed by those of {@link logicalAxisTable} whose names they do not have. Give the result to
 * {@link logicalAxisRules}; call it inside the guard, and inside the mesh where there is one, that the layers will run in.
 *
 * A rule is [logical name, mesh axis or null]. A name of yours may stand several times, as alternatives; one of the
 * table may stand once and only with the table's axis. Anything else is a TeError.
 */
export function extendLogicalAxisRules(rules: readonly LogicalAxisRule[]): readonly LogicalAxisRule[] {
  const fn = "extendLogicalAxisRules";
  checkRules(fn, rules);
  const table = logicalAxisTable();
  const given = new Set(rules.map(([name]) => name));
  for (const [name, axis] of table) {
    const same = rules.filter((rule) => rule[0] === name);
    if (same.length > 1)
      fail("option", fn, `${name} is a name of the layers and may stand once`, `${same.length} rules for it`);
    if (same.length === 1 && same[0]![1] !== axis) {
      const rule = `${name} is a name of the layers, which the MeshResource in force maps to ${JSON.stringify(axis)}`;
      fail("option", fn, rule, JSON.stringify(same[0]![1]), "Leave the rule out, or change the MeshResource.");
    }
  }
  return Object.freeze([...rules, ...table.filter(([name]) => !given.has(name))]);
}

function checkRules(fn: string, rules: readonly LogicalAxisRule[]): void {
  const form = "a rule must be [logical name, mesh axis or null]";
  if (!Array.isArray(rules)) fail("option", fn, "rules must be an array", rules ?? String(rules));
  for (const rule of rules as readonly unknown[]) {
    if (!Array.isArray(rule) || rule.length !== 2) fail("option", fn, form, rule ?? String(rule));
    const [name, axis] = rule as unknown[];
    if (typeof name !== "string") fail("option", fn, `${form}: the name must be a string`, name ?? String(name));
    if (axis !== null && typeof axis !== "string") {
      fail(
        "option",
        fn,
        `${form}: the mesh axis of ${name} must be one name or null`,
        axis === undefined ? "undefined" : axis,
      );
    }
  }
}

const scope = createScope<readonly LogicalAxisRule[]>("logicalAxisRules", (rules) =>
  rules?.length ? JSON.stringify(rules) : "",
);

/** Puts the rules in force for fn and all that it awaits; without fn, until the result is disposed (`using`). */
export function logicalAxisRules<R>(rules: readonly LogicalAxisRule[], fn: () => R): R;
export function logicalAxisRules(rules: readonly LogicalAxisRule[]): Disposable;
export function logicalAxisRules<R>(rules: readonly LogicalAxisRule[], fn?: () => R): R | Disposable {
  checkRules("logicalAxisRules", rules);
  const copy = Object.freeze([...rules]);
  return fn ? scope.with(copy, fn) : scope.with(copy);
}

/** The rules in force; none means an empty list. */
export const currentLogicalAxisRules = (): readonly LogicalAxisRule[] => scope.current() ?? [];

/**
 * The mesh axes for the logical names of a tensor's dimensions. The rules in force decide: the first rule of a name
 * whose mesh axis does not split an earlier dimension wins, and a rule to null ends the search. Without rules, the
 * table of the layers decides. null and a name without a rule mean whole; a name that starts with "nvte_" but is none
 * of the layers' is a spelling mistake and an error.
 */
export function logicalToMeshAxes(names: readonly (string | null)[]): PartitionSpec {
  expectArray("logicalToMeshAxes", "logical names", { names });
  const own = currentLogicalAxisRules();
  const table = own.length > 0 ? undefined : logicalAxisTable();
  const used = new Set<string>();
  return new PartitionSpec(
    ...names.map((name) => {
      if (name === null) return null;
      if (typeof name !== "string")
        fail("option", "logicalToMeshAxes", "a logical name must be a string or null", name);
      const rules = own.length > 0 ? own : table!;
      const candidates = rules.filter((rule) => rule[0] === name);
      if (candidates.length === 0) checkSpelling(name);
      const found = candidates.find(([, axis]) => axis === null || !used.has(axis));
      const axis = found?.[1] ?? null;
      if (axis !== null) used.add(axis);
      return axis;
    }),
  );
}

function checkSpelling(name: string): void {
  if (!name.startsWith("nvte_") || layerAxes.includes(name)) return;
  fail("option", "logicalToMeshAxes", "no such logical axis of the layers", name, `Known: ${layerAxes.join(", ")}.`);
}
