/** The list of recipes that come with the package, by name. */
import { expectString, fail } from "@te/tensor/op";
import { Float8CurrentScaling } from "./current-scaling.js";
import { DelayedScaling } from "./delayed-scaling.js";
import { isRecipe, type Recipe } from "./recipe.js";

const RECIPES = { DelayedScaling, Float8CurrentScaling } as const;
const PLANNED = ["MXFP8BlockScaling", "NVFP4BlockScaling"];

/** Names of the recipes that exist. */
export const getSupportedQuantizationRecipes = (): string[] => Object.keys(RECIPES);

/** Whether a recipe of this name can be used, and why not. */
export function isQuantizeRecipeSupported(name: string): [supported: boolean, reason: string] {
  expectString("isQuantizeRecipeSupported", { name });
  if (Object.hasOwn(RECIPES, name)) return [true, ""];
  if (PLANNED.includes(name)) return [false, `the recipe ${name} is not supported yet`];
  return [false, `there is no recipe ${name}`];
}

/** The recipe class of a name. Names without a class are a TeError that says whether the recipe is still to come. */
export function getQuantizationRecipe(name: string): (typeof RECIPES)[keyof typeof RECIPES] {
  expectString("getQuantizationRecipe", { name });
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

/** The recipe where none is given. */
export const defaultRecipe = (): Recipe => new DelayedScaling();

/** Throws unless the value is a recipe: one of these, or anything else with the members of {@link Recipe}. */
export function checkRecipe(fn: string, recipe: unknown): Recipe {
  if (isRecipe(recipe)) return recipe;
  return fail(
    "option",
    fn,
    `the recipe must be a ${getSupportedQuantizationRecipes().join(" or ")}`,
    recipe ?? String(recipe),
    "Pass new DelayedScaling({ ... }), or leave it out.",
  );
}
