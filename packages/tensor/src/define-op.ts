/** Ops as functions: {@link defineOp} makes one from its definition. */
import { applyOp } from "./apply-op.js";
import { fail } from "./errors.js";
import { inputNames, nameOutputs, type Op, type OpDefinition, type OpSpec, type Params, registerOp } from "./op.js";
import { registerKinds } from "./op-check.js";
import type { Tensor } from "./tensor.js";

/**
 * Defines an op: its names, shape rule, reference, gradient, sharding rule and cases. The result is called with named
 * tensors and parameters and returns named tensors.
 */
export function defineOp<
  const I extends string,
  const O extends string,
  P extends object,
  const Q extends string = never,
>(name: string, spec: OpSpec<I, O, P, Q>): Op<I, O, P, Q> {
  if (typeof name !== "string" || name === "")
    fail("option", "defineOp", "the name must be a string that is not empty", name ?? String(name));
  const fn = `defineOp(${name})`;
  if (typeof spec !== "object" || spec === null || typeof spec.shape !== "function" || !Array.isArray(spec.outputs))
    fail("option", fn, "the second argument must have inputs, outputs, params and shape", spec ?? String(spec));
  if (!Array.isArray(spec.inputs) || typeof spec.params !== "object" || spec.params === null)
    fail("option", fn, "inputs must be an array of names and params an object of defaults", spec);
  if (typeof spec.sharding !== "function")
    fail(
      "option",
      fn,
      "sharding must be a function",
      spec.sharding ?? String(spec.sharding),
      "See rule and wholeRule.",
    );
  if (!spec.evaluate === !spec.reference) fail("option", fn, "exactly one of evaluate and reference must be given");
  const definition = registerOp(name, spec);
  registerKinds(definition);
  const call = (inputs: object, params?: object) =>
    nameOutputs(definition, applyOp(definition, orderInputs(definition, inputs), params as Params | undefined));
  return Object.assign(call, { definition }) as unknown as Op<I, O, P, Q>;
}

/** The inputs in wire order; applyOp checks them. */
function orderInputs(op: OpDefinition, inputs: object): (Tensor | undefined)[] {
  if (typeof inputs !== "object" || inputs === null)
    fail("option", op.name, "inputs must be an object of tensors by name", inputs ?? String(inputs));
  if (op.variadic) return (inputs as { inputs: Tensor[] }).inputs;
  const names = inputNames(op);
  for (const name in inputs)
    if (!names.includes(name))
      fail("option", op.name, `unknown input ${name}`, undefined, `Inputs: ${names.join(", ")}.`);
  return names.map((name) => (inputs as Record<string, Tensor | undefined>)[name]);
}
