/** Modules with one thing wrong: an option, an argument, a key, a variable. */
import { fp8Autocast } from "@te/fp8";
import type { Call } from "./call.js";
import type { Draw } from "./draw.js";
import { damage } from "./nasty.js";
import { settle } from "./settle.js";
import { show } from "./show.js";
import { MODULES } from "./valid-modules.js";
import { Make } from "./valid-tensor-calls.js";

type Place = "options" | "init" | "rngs" | "variables" | "apply" | "apply options";

export function moduleCall(draw: Draw): Call {
  const [name, { make, options, args }] = draw.pick(Object.entries(MODULES));
  const m = new Make(draw);
  const place = draw.pick<Place>([
    "options",
    "options",
    "init",
    "rngs",
    "variables",
    "variables",
    "apply",
    "apply options",
  ]);
  const broken = <T>(at: Place, value: T): T => (place === at ? (damage(draw, value) as T) : value);
  const given = broken("options", options);
  const right = args(m);
  const toInit = broken<unknown>("init", right);
  const toApply = broken("apply", right);
  const rngs = broken("rngs", { params: m.key(), dropout: m.key() });
  const applyOptions = broken("apply options", { rngs: { dropout: m.key() }, mutable: ["cache"] });
  const list = (value: unknown): unknown[] => (Array.isArray(value) ? value.slice(0, 20) : [value]);
  const run = async (): Promise<undefined> => {
    const module = make(given);
    const variables = broken("variables", module.init(rngs, ...list(toInit)));
    const result = module.apply(variables, ...withOptions(list(toApply), applyOptions));
    await settle(draw, result, right);
    return undefined;
  };
  const shown = {
    options: given,
    init: toInit,
    rngs,
    variables: "some variable",
    apply: toApply,
    "apply options": applyOptions,
  };
  const fp8 = draw.chance(0.15);
  return {
    kind: "module",
    text: `${name}${fp8 ? " in FP8" : ""}, ${place}: ${show(shown[place])}`,
    run: () => (fp8 ? fp8Autocast({ enabled: true }, run) : run()),
  };
}

/** The options of apply go into the object that ends the arguments of most calls. */
function withOptions(args: unknown[], options: unknown): unknown[] {
  const last = args.at(-1);
  const plain = (value: unknown): value is object =>
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
  return plain(last) && plain(options) ? [...args.slice(0, -1), { ...last, ...options }] : [...args, options];
}
