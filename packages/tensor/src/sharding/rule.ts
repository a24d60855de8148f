/** Sharding rules as ops write them, einsum-like text, and as partitioners read them, held against the shapes of a call. */
import { checkShape } from "../aval.js";
import { fail } from "../errors.js";
import { expectArray, expectList, expectNumbers, expectObject, expectString, expectStrings } from "../expect.js";
import { withDefaults } from "../options.js";

/** How partial results of a factor that vanishes from an output are combined. */
export type Reduction = "sum" | "max" | "min";
const REDUCTIONS: readonly Reduction[] = ["sum", "max", "min"];

/** A rule before shapes are known: what {@link rule} makes. */
export interface RuleText {
  readonly text: string;
  readonly whole: readonly string[];
  readonly together: readonly string[];
  readonly composed: readonly string[];
  readonly reduce: Readonly<Record<string, Reduction>>;
  readonly sizes: Readonly<Record<string, number>>;
}

/** A stretch of index that dimensions share. */
export interface Factor {
  readonly size: number;
  /**
   * "whole": may not be split. "free": every output has it, and the parts of an output lie side by side. A reduction: so the
   * parts of an output that does not have it are combined; outputs that have it lie side by side here too. "together": it may
   * be cut into single elements, whose devices exchange while they compute, as the op's `together` says; an output that does
   * not have it is the same on all of them.
   */
  readonly split: "free" | "whole" | "together" | Reduction;
  /** Of a whole one: the ops that the reference is made of can be split along it, and take the place of the op where it is. */
  readonly isComposed?: boolean;
}

/** An input or output of a call: its whole shape, and the factors of each dimension, outermost first. */
export interface Operand {
  readonly shape: readonly number[];
  /** A dimension without factors is whole in every part. */
  readonly dims: readonly (readonly string[])[];
}

/** How one call of an op may be split over a mesh. */
export interface Rule {
  /** In wire order; undefined for optional inputs that were left out. */
  readonly inputs: readonly (Operand | undefined)[];
  readonly outputs: readonly Operand[];
  readonly factors: Readonly<Record<string, Factor>>;
}

/** Options of {@link rule}. */
export interface RuleOptions {
  /** Factors that may not be split; "..." for all leading axes. */
  readonly whole?: readonly string[];
  /** Factors whose devices exchange while they compute, as the op's `together` says. */
  readonly together?: readonly string[];
  /** Factors that may not be split either, unless the op is replaced by its reference, whose ops say what is exchanged. */
  readonly composed?: readonly string[];
  /** How factors that vanish from an output are combined: "sum" by default. */
  readonly reduce?: Readonly<Record<string, Reduction>>;
  /** Sizes that the shapes do not tell, of factors in products. */
  readonly sizes?: Readonly<Record<string, number>>;
}

/**
 * A sharding rule as text, like "... m k, k n, n -> ... m n": terms of the inputs in wire order, also of optional ones, an
 * arrow, terms of the outputs. One term alone holds for all of them. A term has one entry for each axis:
 *
 *     k        a factor; it has one size wherever it stands
 *     (a b)    a product of factors, outermost first
 *     3        an axis of this length that is never split
 *     ...      leading axes, which broadcast: those of length 1 beside longer ones are never split
 *     *        alone: any axes, none of which is ever split
 */
export function rule(text: string, options: RuleOptions = {}): RuleText {
  expectString("rule", { text });
  const defaults = { whole: [], together: [], composed: [], reduce: {}, sizes: {} };
  const { whole, together, composed, reduce, sizes } = withDefaults("rule", options, defaults);
  expectStrings("rule", { whole, together, composed });
  expectObject("rule", { reduce, sizes });
  for (const how of Object.values(reduce))
    if (!REDUCTIONS.includes(how)) fail("option", "rule", `reduce must be ${REDUCTIONS.join(", ")}`, how);
  checkShape("rule", Object.values(sizes));
  return { text, whole, together, composed, reduce, sizes };
}

/** The rule of elementwise ops: all operands broadcast, and every axis may be split. */
export const elementwiseRule = (): RuleText => rule("...");

/** The rule of ops of which nothing may be split. */
export const wholeRule = (): RuleText => rule("*");

/** A term with a factor for every axis of a shape, named a0, a1, …; axes in `whole` are written as their lengths. */
export function axisTerm(shape: readonly number[], whole: readonly number[] = [], prefix = "a"): string {
  checkShape("axisTerm", shape);
  expectNumbers("axisTerm", { whole });
  expectString("axisTerm", { prefix });
  return shape.map((d, i) => (whole.includes(i) ? d : `${prefix}${i}`)).join(" ");
}

/** Throws unless the value is an operand of a rule. */
export function checkOperand(fn: string, operand: Operand): void {
  expectObject(fn, { operand });
  const { shape, dims } = operand;
  checkShape(fn, shape);
  expectList(fn, "a list of factors for each dimension", { dims }, Array.isArray);
  for (const factors of dims) expectStrings(fn, { factors });
  if (dims.length !== shape.length) fail("option", fn, `dims must describe ${shape.length} dimensions`, dims.length);
}

/** Throws unless the value is a rule. */
export function checkRule(fn: string, of: Rule): void {
  expectObject(fn, { rule: of });
  const { inputs, outputs, factors } = of;
  expectArray(fn, "operands", { inputs, outputs });
  for (const operand of [...inputs.filter((input) => input !== undefined), ...outputs]) checkOperand(fn, operand);
  expectObject(fn, { factors });
  expectObject(fn, factors as Readonly<Record<string, unknown>>);
}

/** A rule as text, with lengths for what is never split: "...0 m 3 -> ...0 m". */
export function formatRule(of: Rule): string {
  checkRule("formatRule", of);
  const dim = (factors: readonly string[], length: number): string =>
    factors.length === 0 ? String(length) : factors.length === 1 ? factors[0]! : `(${factors.join(" ")})`;
  const term = (o: Operand | undefined): string => (o ? o.dims.map((f, i) => dim(f, o.shape[i]!)).join(" ") : "-");
  const terms = (all: readonly (Operand | undefined)[]): string => all.map(term).join(", ");
  const marks = Object.entries(of.factors).flatMap(([name, { split, isComposed }]) =>
    split === "free" ? [] : `${name}: ${isComposed ? "composed" : split}`,
  );
  return `${terms(of.inputs)} -> ${terms(of.outputs)}${marks.length ? ` {${marks.join(", ")}}` : ""}`;
}
