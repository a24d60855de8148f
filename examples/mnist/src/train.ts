/** One epoch of stochastic gradient descent, and the evaluation. */
import { autocast, DelayedScaling, Float8CurrentScaling, updateCollections } from "@te/fp8";
import type { Variables } from "@te/layers";
import { applyUpdates, sgd } from "@te/optim";
import { argmax, crossEntropy, type DType, jit, random, type Tensor, valueAndGrad } from "@te/tensor";
import { batchOf, type Digits, shuffled } from "./data.js";
import { DigitModel } from "./model.js";

export const RECIPES = {
  none: null,
  delayed: new DelayedScaling(),
  current: new Float8CurrentScaling(),
} as const;

export interface Options {
  readonly dtype: DType;
  readonly recipe: keyof typeof RECIPES;
  readonly seed?: number;
  readonly batch?: number;
}

export interface Score {
  readonly loss: number;
  readonly accuracy: number;
}

const EVALUATION_BATCH = 500;

export class Trainer {
  private readonly model: DigitModel;
  private readonly optimizer = sgd({ learningRate: 0.01, momentum: 0.9 });
  private readonly key: Tensor;
  private variables!: Variables;
  private state: unknown;
  private epochs = 0;

  constructor(private readonly options: Options) {
    this.model = new DigitModel(options.dtype);
    this.key = random.key(options.seed ?? 1);
  }

  private inRecipe<R>(fn: () => R): R {
    const recipe = RECIPES[this.options.recipe];
    return autocast({ enabled: recipe !== null, recipe }, fn);
  }

  private readonly step = jit(
    (
      variables: Variables,
      state: unknown,
      images: Tensor,
      labels: Tensor,
      key: Tensor,
    ): [variables: Variables, state: unknown, loss: Tensor] => {
      const lossOf = (v: Variables): Tensor => {
        const logits = this.model.apply(v, images, { rngs: { dropout: key } });
        return crossEntropy(logits.astype("float32"), labels).mean();
      };
      const [loss, { params: gradients, ...metas }] = valueAndGrad(lossOf)(variables);
      const [updates, next] = this.optimizer.update(gradients, state, variables.params);
      const params = applyUpdates(variables.params, updates);
      return [updateCollections({ ...metas, params }, variables), next, loss];
    },
    { donateArgnums: [0, 1] },
  );

  private readonly evaluateBatch = jit((variables: Variables, images: Tensor, labels: Tensor) => {
    const logits = this.model.apply(variables, images, { deterministic: true }).astype("float32");
    const right = argmax(logits, -1).eq(labels).astype("float32");
    return [crossEntropy(logits, labels).sum(), right.sum()] as const;
  });

  /** Goes through the digits once, in a new order. `onStep` hears the loss of every step. Returns their mean. */
  async epoch(digits: Digits, onStep?: (step: number, steps: number, loss: number) => void): Promise<number> {
    const key = random.foldIn(this.key, ++this.epochs);
    const order = await shuffled(digits, key);
    const batch = this.options.batch ?? 64;
    const steps = Math.floor(digits.count / batch);
    let total = 0;
    for (let i = 0; i < steps; i++) {
      const { images, labels } = batchOf(digits, order.subarray(i * batch, (i + 1) * batch));
      this.start(images);
      const dropout = random.foldIn(key, i);
      const [variables, state, loss] = this.inRecipe(() =>
        this.step(this.variables, this.state, images, labels, dropout),
      );
      this.variables = variables;
      this.state = state;
      const value = await loss.item();
      total += value;
      onStep?.(i + 1, steps, value);
      for (const t of [images, labels, dropout, loss]) t.dispose();
    }
    return total / steps;
  }

  private start(images: Tensor): void {
    if (this.state) return;
    const { params_axes: _, ...variables } = this.inRecipe(() =>
      this.model.init(this.key, images, { deterministic: true }),
    );
    this.variables = variables;
    this.state = this.optimizer.init(variables.params);
  }

  async evaluate(digits: Digits): Promise<Score> {
    let [loss, right] = [0, 0];
    const seen = Math.floor(digits.count / EVALUATION_BATCH) * EVALUATION_BATCH;
    for (let at = 0; at < seen; at += EVALUATION_BATCH) {
      const numbers = Array.from({ length: EVALUATION_BATCH }, (_, i) => at + i);
      const { images, labels } = batchOf(digits, numbers);
      const sums = this.inRecipe(() => this.evaluateBatch(this.variables, images, labels));
      loss += await sums[0].item();
      right += await sums[1].item();
      for (const t of [images, labels, ...sums]) t.dispose();
    }
    return { loss: loss / seen, accuracy: right / seen };
  }
}
