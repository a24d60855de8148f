/** A small problem for optimizers: parameters, gradients of each step, and the trajectory they lead to. */
import { type Tensor, tensor, tree } from "@te/tensor";
import { applyUpdates, type GradientTransformation } from "../src/index.js";

export const firstParams = () => ({
  w: tensor([
    [0.5, -1],
    [2, 0.25],
  ]),
  b: tensor([0.1, -0.3]),
});

/** The gradients of step t: signs alternate, sizes differ by leaf and step. */
export function gradientsAt(t: number) {
  const sign = (1 + 0.5 * t) * (-1) ** t;
  return {
    w: tensor([
      [0.3 * sign, -0.2 * sign],
      [0.05 * sign, sign],
    ]),
    b: tensor([0.01 + 0.1 * t, -2 + 0.1 * t]),
  };
}

export type Step = (params: any, grads: any, state: any) => [params: any, state: any];

/** One step of an optimizer: new parameters and state. */
export const stepOf =
  (optimizer: GradientTransformation): Step =>
  (params, grads, state) => {
    const [updates, next] = optimizer.update(grads, state, params);
    return [applyUpdates(params, updates), next];
  };

export const flat = (params: unknown): number[] => tree.leaves(params).flatMap((leaf: Tensor) => [...leaf.dataSync()]);

/** The parameters after each of five steps. */
export function trajectory(optimizer: GradientTransformation, step: Step = stepOf(optimizer)): number[][] {
  let params: any = firstParams();
  let state = optimizer.init(params);
  return Array.from({ length: 5 }, (_, t) => {
    [params, state] = step(params, gradientsAt(t), state);
    return flat(params);
  });
}
