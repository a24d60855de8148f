/** The state of a product: what its three quantizers keep, how it becomes variables of a module, and how it goes on. */
import { full, type Tensor } from "@te/tensor";
import { expectFunction, expectObject, expectString, expectTensor, fail, sameShape, stateAfter } from "@te/tensor/op";
import type { Quantized } from "./quantized.js";
import { checkRecipe } from "./recipes/index.js";
import {
  type Quantizer,
  type Recipe,
  ROLES,
  type Role,
  type StateVariable,
  type TensorState,
} from "./recipes/recipe.js";

/** The states of one product: of its input, its kernel, and the gradient of its result; null where there is none. */
export type ProductMetas<State = TensorState | null> = { readonly [R in Role]: State };

const variablesOf = (quantizer: Quantizer): [name: string, StateVariable][] => Object.entries(quantizer.variables);

/** Throws unless the value is a state of this quantizer. */
function expectState(fn: string, name: string, state: unknown, quantizer: Quantizer): void {
  const variables = variablesOf(quantizer);
  if (variables.length === 0) return;
  expectObject(fn, { [name]: state });
  for (const [entry] of variables) expectTensor(fn, { [`${name}.${entry}`]: (state as TensorState)[entry] });
}

/** Throws unless the value holds the states of one product under the recipe. */
export function expectMetas(fn: string, metas: unknown, recipe: Recipe): void {
  expectObject(fn, { metas });
  for (const role of ROLES) expectState(fn, `metas.${role}`, (metas as ProductMetas)[role], recipe.quantizer(role));
}

/** The state after a step that rounded a tensor with `state`; itself where the quantizer has none. */
export function nextState<State extends TensorState | null>(
  state: State,
  used: Pick<Quantized, "q" | "amax">,
  quantizer: Quantizer<State>,
): State {
  const fn = "nextState";
  expectObject(fn, { used, quantizer, "quantizer.variables": quantizer?.variables });
  expectState(fn, "state", state, quantizer as Quantizer);
  const { rule, dtype } = quantizer;
  if (state === null || rule === null) return state;
  const { q, amax } = used;
  expectTensor(fn, { q, amax });
  if (q.dtype !== dtype) fail("dtype", fn, `q must be ${dtype}, as the quantizer makes it`, q);
  return stateAfter(rule, state, { amax: amax! }) as State;
}

/**
 * The states of a product after a step: what its backward returns as the cotangent of `metas`. Where gradients reach
 * metas in more than one place, the step is taken once, with the largest amax of all.
 */
export function nextMetas<State extends TensorState | null>(
  metas: ProductMetas<State>,
  used: ProductMetas<Quantized>,
  recipe: Recipe<State>,
): ProductMetas<State> {
  checkRecipe("nextMetas", recipe);
  expectMetas("nextMetas", metas, recipe as Recipe);
  expectObject("nextMetas", { used });
  const next = (role: Role): State => nextState(metas[role], used[role], recipe.quantizer(role));
  return { x: next("x"), kernel: next("kernel"), grad: next("grad") };
}

/**
 * The states of one product from a module's variables, by their names: x_scale, x_amax_history, kernel_scale, …,
 * grad_amax_history under delayed scaling, or with a postfix x_0_scale and so on. `variable` returns the variable of a
 * name and creates it with `init` when there is none. Throws when a stored one has not the shape that the recipe asks
 * for, or is not float32. Recipes without state read and make no variables.
 */
export function productMetas<State extends TensorState | null>(
  recipe: Recipe<State>,
  variable: (name: string, init: () => Tensor) => Tensor,
  postfix: "" | `_${number}` = "",
): ProductMetas<State> {
  const fn = "productMetas";
  checkRecipe(fn, recipe);
  expectFunction(fn, { variable });
  expectString(fn, { postfix });
  const read = (name: string, { shape, initial, wayOut }: StateVariable): Tensor => {
    const found = variable(name, () => full([...shape], initial));
    expectTensor(fn, { [name]: found });
    if (found.dtype !== "float32" || !sameShape(found.shape, shape))
      fail("state", fn, `${name} must be float32[${shape}]`, found, wayOut);
    return found;
  };
  const state = (role: Role): State => {
    const variables = variablesOf(recipe.quantizer(role) as Quantizer);
    if (variables.length === 0) return null as State;
    return Object.fromEntries(
      variables.map(([entry, described]) => [entry, read(`${role}${postfix}_${described.suffix}`, described)]),
    ) as State;
  };
  return { x: state("x"), kernel: state("kernel"), grad: state("grad") };
}
