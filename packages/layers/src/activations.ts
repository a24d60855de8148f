/** Options of an MLP's activations, read and checked into the parameters of the op `gated_activation`. */
import { type Defaults, expectArray, expectString, expectStrings, fail, warnOnce, withDefaults } from "@te/tensor/op";
import { type ActivationParams, CLAMPED, checkActivation } from "./ops/gated-activation.js";

/** Of ["clamped_silu", "clamped_linear"]: g = min(u0, limit), l = clip(u1, ±limit) + gluLinearOffset, y = g sigmoid(alpha g) l. */
export interface ClampedActivationParams {
  /** Default 7. */
  limit?: number;
  /** Default 1.702. */
  alpha?: number;
  /** Default 1. */
  gluLinearOffset?: number;
}

const CLAMPED_DEFAULTS = {
  limit: CLAMPED.limit,
  alpha: CLAMPED.alpha,
  gluLinearOffset: CLAMPED.offset,
} satisfies Defaults<ClampedActivationParams>;

/**
 * The activations of an MLP as gated_activation takes them: lower-case names, which a leading linear one reverses, so that
 * the other activation reads slice 0. `names` are those of the two options, for errors.
 */
export function parseActivations(
  fn: string,
  activations: readonly string[],
  activationParams: ClampedActivationParams | null,
  names: readonly [activations: string, activationParams: string] = ["activations", "activationParams"],
): ActivationParams {
  expectString("parseActivations", { fn });
  expectStrings("parseActivations", { names });
  expectArray(fn, "names", { [names[0]]: activations });
  const lower = Array.from(activations, (name) => checkActivation(fn, names[0], name));
  if (lower.length === 0) fail("option", fn, `${names[0]} must not be empty`);
  if (lower[0] === "linear" || lower[0] === "clamped_linear") lower.reverse();
  const given = withDefaults(`${fn}.${names[1]}`, activationParams ?? {}, CLAMPED_DEFAULTS);
  for (const [name, value] of Object.entries(given))
    if (!Number.isFinite(value)) fail("option", fn, `${names[1]}.${name} must be a finite number`, value);
  if (activationParams !== null && !lower.some((name) => name.startsWith("clamped")))
    warnOnce(
      `${fn}: ${names[1]} is not read, as no activation is clamped. Use ["clamped_silu", "clamped_linear"], or leave it out.`,
      "unread activationParams",
    );
  const { gluLinearOffset: offset, ...rest } = given;
  return { activations: lower, offset, ...rest };
}
