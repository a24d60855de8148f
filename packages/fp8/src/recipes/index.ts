import { fail } from "@te/tensor";
import { DelayedScaling } from "./delayed-scaling.js";

/** An FP8 recipe: how tensors get their scales. */
export type Recipe = DelayedScaling;

const RECIPES = { DelayedScaling } as const;
const PLANNED = ["Float8CurrentScaling", "MXFP8BlockScaling", "NVFP4BlockScaling"];

/** Names of the recipes that exist. */
export const getSupportedQuantizationRecipes = (): string[] => Object.keys(RECIPES);

/** Whether a recipe of this name can be used, and why not. */
export function isQuantizeRecipeSupported(name: string): [supported: boolean, reason: string] {
  if (Object.hasOwn(RECIPES, name)) return [true, ""];
  if (PLANNED.includes(name)) return [false, `the recipe ${name} is not supported yet`];
  return [false, `there is no recipe ${name}`];
}

/** The recipe class of a name. Names without a class are a TeError that says whether the recipe is still to come. */
export function getQuantizationRecipe(name: string): typeof DelayedScaling {
  if (Object.hasOwn(RECIPES, name)) return RECIPES[name as keyof typeof RECIPES];
  const [, reason] = isQuantizeRecipeSupported(name);
  return fail(
    PLANNED.includes(name) ? "unsupported" : "option",
    "getQuantizationRecipe",
    reason,
    undefined,
    `Supported: ${getSupportedQuantizationRecipes().join(", ")}.`,
  );
}

/** Throws unless the value is a recipe. */
export function checkRecipe(fn: string, recipe: unknown): Recipe {
  if (recipe instanceof DelayedScaling) return recipe;
  return fail(
    "option",
    fn,
    "the recipe must be a DelayedScaling",
    recipe,
    "Pass new DelayedScaling({ ... }), or leave it out.",
  );
}
