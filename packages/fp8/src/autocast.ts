/** The scope in which layers multiply in FP8, and its recipe. */
import { globalShardGuard, type MeshResource } from "@te/sharding";
import { checkOptions, createScope, fail } from "@te/tensor/op";
import { checkRecipe, defaultRecipe } from "./recipes/index.js";
import type { Recipe } from "./recipes/recipe.js";

/** Options of {@link autocast}. */
export interface AutocastOptions {
  /** Whether layers multiply in FP8 inside. Default false. */
  readonly enabled?: boolean;
  /** Default: `new DelayedScaling()`. */
  readonly recipe?: Recipe | null;
  /** Enters globalShardGuard with it; null means no resource inside. Default: the resource in force stays. */
  readonly meshResource?: MeshResource | null;
}

/** Options of {@link fp8Autocast}. */
export interface Fp8AutocastOptions extends Omit<AutocastOptions, "recipe"> {
  /** Default: `new DelayedScaling()`. */
  readonly fp8Recipe?: Recipe | null;
}

const scope = createScope<Recipe>("fp8Recipe", (recipe) => recipe?.toString() ?? "");

/** The recipe in force, or undefined where layers do not use FP8. */
export const currentRecipe = (): Recipe | undefined => scope.current();

/**
 * Puts a recipe in force for fn and all that it awaits; without fn, until the result is disposed (`using`). Contexts
 * nest and restore; an inner one that is not enabled turns FP8 off. Layers read the recipe when they create their
 * variables and whenever they are traced, so init, apply and valueAndGrad belong inside the same context.
 */
export function autocast<R>(options: AutocastOptions, fn: () => R): R;
export function autocast(options?: AutocastOptions): Disposable;
export function autocast<R>(options: AutocastOptions = {}, fn?: () => R): R | Disposable {
  checkOptions("autocast", options, ["enabled", "recipe", "meshResource"]);
  return enter("autocast", options.enabled, options.recipe, options.meshResource, fn);
}

/** {@link autocast} under its first name: the recipe is `fp8Recipe`. */
export function fp8Autocast<R>(options: Fp8AutocastOptions, fn: () => R): R;
export function fp8Autocast(options?: Fp8AutocastOptions): Disposable;
export function fp8Autocast<R>(options: Fp8AutocastOptions = {}, fn?: () => R): R | Disposable {
  checkOptions("fp8Autocast", options, ["enabled", "fp8Recipe", "meshResource"]);
  return enter("fp8Autocast", options.enabled, options.fp8Recipe, options.meshResource, fn);
}

function enter<R>(
  name: string,
  enabled: boolean | undefined,
  given: Recipe | null | undefined,
  meshResource: MeshResource | null | undefined,
  fn: (() => R) | undefined,
): R | Disposable {
  if (enabled !== undefined && typeof enabled !== "boolean") fail("option", name, "enabled must be a boolean", enabled);
  const recipe = given === undefined || given === null ? defaultRecipe() : checkRecipe(name, given);
  const value = enabled ? recipe : undefined;
  if (fn) {
    if (meshResource === undefined) return scope.with(value, fn);
    return globalShardGuard(meshResource, () => scope.with(value, fn));
  }
  const guard = meshResource === undefined ? undefined : globalShardGuard(meshResource);
  const entered = scope.with(value);
  return {
    [Symbol.dispose]() {
      entered[Symbol.dispose]();
      guard?.[Symbol.dispose]();
    },
  };
}
