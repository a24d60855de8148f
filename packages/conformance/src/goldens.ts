/** Which parameters the recorded cases of the original exercise. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { PublicName } from "@te/testkit/options";
import type { Item } from "./page.js";
import { root } from "./run-tests.js";

interface RecordedCase {
  readonly id: string;
  readonly module: string;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly callArgs?: readonly unknown[];
  readonly callKw?: Readonly<Record<string, unknown>>;
  readonly recipe?: string;
  readonly recipeOptions?: Readonly<Record<string, unknown>>;
}

/** Outside of FP8 the original ignores this option, and so must the replay. */
const IGNORED = new Set(["lnmlp-clamped-limit075 LayerNormMLP.activationParams"]);

/** Keys of the items that each case exercises, by the id of the case. */
export function readGoldens(names: readonly PublicName[], items: readonly Item[]): Map<string, string[]> {
  const defaults = new Map(items.map((item) => [item.key, item.default]));
  const folder = join(root, "packages/testkit/goldens");
  const cases = readdirSync(folder)
    .filter((file) => file.endsWith(".json"))
    .flatMap((file) => JSON.parse(readFileSync(join(folder, file), "utf8")).cases as RecordedCase[]);
  return new Map(
    cases
      .map((of): [string, string[]] => [
        of.id,
        [...optionKeys(of, defaults), ...callKeys(of, names), ...recipeKeys(of, defaults)],
      ])
      .map(([id, keys]) => [id, keys.filter((key) => defaults.has(key) && !IGNORED.has(`${id} ${key}`))]),
  );
}

/** Options that are not at their default exercise themselves. */
function optionKeys(
  { module, options = {} }: RecordedCase,
  defaults: ReadonlyMap<string, string | undefined>,
): string[] {
  const keys = Object.entries(options)
    .filter(([name, value]) => !isDefault(value, defaults.get(`${module}.${name}`)))
    .map(([name]) => `${module}.${name}`);
  const { layerType } = options;
  return typeof layerType === "string" ? [...keys, `TransformerLayerType.${layerType.toUpperCase()}`] : keys;
}

/** False is the default of an option whose comment names none; a window of [-1, -1] hides nothing. */
function isDefault(value: unknown, said: string | undefined): boolean {
  if (value === null || JSON.stringify(value) === "[-1,-1]") return true;
  if (said === undefined) return value === false;
  return String(value) === said.replace("Format.", "") || JSON.stringify(value) === said.replaceAll(", ", ",");
}

/** Arguments that are there exercise themselves; `deterministic` and the like where they are not false. */
function callKeys({ module, callArgs = [], callKw = {} }: RecordedCase, names: readonly PublicName[]): string[] {
  const call = names.find(({ name }) => name === module)?.call ?? [];
  const given = callArgs.flatMap((arg, i) => (arg === null ? [] : [call[i]?.name]));
  const named = Object.entries(callKw).flatMap(([name, value]) => (value ? [name] : []));
  return [...given, ...named].map((name) => `${module}.call.${name}`);
}

function recipeKeys(of: RecordedCase, defaults: ReadonlyMap<string, string | undefined>): string[] {
  const { module, options = {}, recipe = "DelayedScaling", recipeOptions } = of;
  const ofRecipe = (given: Readonly<Record<string, unknown>>) =>
    optionKeys({ ...of, module: recipe, options: given }, defaults);
  if (module === "quantizer") return ofRecipe(options);
  return recipeOptions ? ["fp8Autocast.enabled", "fp8Autocast.fp8Recipe", ...ofRecipe(recipeOptions)] : [];
}
