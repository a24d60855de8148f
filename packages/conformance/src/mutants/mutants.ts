/** Mistakes that a test must catch: X05. Each is one edit of one source file, and the tests that are likely to see it. */
import type { Edit } from "../../../../scripts/mutant.js";

export interface Mutant extends Edit {
  readonly name: string;
  /** Files of tests as "package/file". */
  readonly tests: readonly string[];
}

const mutant = (name: string, file: string, from: string, to: string, ...tests: string[]): Mutant => ({
  name,
  file: `packages/${file}`,
  from,
  to,
  tests,
});

const REFERENCE = "transformer/src/ops/attention-reference.ts";
const NORM = "layers/src/ops/layer-norm.ts";
const ACTIVATION = "layers/src/ops/gated-activation.ts";
const LAYER = "transformer/src/transformer-layer.ts";
const SCALING = "fp8/src/ops/delayed-scaling-update.ts";
const STATE = "tensor/src/transforms/state.ts";
const ADAMW = "optim/src/ops/adamw-update.ts";

/** All run on the reference (TE_KERNELS=off): native kernels would hide what is planted in the reference of an op. */
export const MUTANTS: readonly Mutant[] = [
  // Gradients
  mutant(
    "dq is zero",
    REFERENCE,
    "const dq = wire(batched(ds, k,",
    "const dq = wire(batched(ds.mul(0), k,",
    "transformer/dot-product-attention",
  ),
  mutant(
    "dk is zero",
    REFERENCE,
    "const dk = wire(batched(ds, q,",
    "const dk = wire(batched(ds.mul(0), q,",
    "transformer/dot-product-attention",
  ),
  mutant(
    "dv is zero",
    REFERENCE,
    "const dv = wire(weighted(grouped(weights, p.s),",
    "const dv = wire(weighted(grouped(weights.mul(0), p.s),",
    "transformer/dot-product-attention",
  ),
  mutant("dgamma is zero", NORM, "dgamma: g.mul(xhat)", "dgamma: g.mul(0).mul(xhat)", "layers/golden"),
  mutant("dbeta is zero", NORM, "dbeta: g.sum(", "dbeta: g.mul(0).sum(", "layers/golden"),
  mutant(
    "dx of a norm forgets the mean over xhat",
    NORM,
    "dx: a.sub(c1).sub(xhat.mul(c2))",
    "dx: a.sub(c1)",
    "layers/golden",
  ),
  mutant(
    "a gated gradient has the value where the derivative belongs",
    ACTIVATION,
    'const derivatives = slots(u, params, "derivative");',
    'const derivatives = slots(u, params, "value");',
    "layers/golden",
  ),
  // Attention
  mutant(
    "logits are not scaled by 1 / sqrt(d)",
    "transformer/src/dot-product-attention.ts",
    "options.scaleFactor ?? 1 / Math.sqrt(this.headDim)",
    "options.scaleFactor ?? 1",
    "transformer/dot-product-attention",
  ),
  mutant(
    "scaleAttnLogits does nothing",
    "transformer/src/multi-head-attention.ts",
    "options.scaleAttnLogits ? 1 / Math.sqrt(this.headDim) : 1",
    "1",
    "transformer/golden",
  ),
  mutant(
    "a causal query does not see itself",
    REFERENCE,
    "rules.push(key.le(query));",
    "rules.push(key.lt(query));",
    "transformer/dot-product-attention",
  ),
  mutant(
    "the causal diagonal of bottom-right masks is off by one",
    REFERENCE,
    "const shift = params.bottomRight ? s.keys - s.queries : 0;",
    "const shift = params.bottomRight ? s.keys - s.queries - 1 : 0;",
    "transformer/dot-product-attention",
  ),
  mutant(
    "a window reaches one key too far to the left",
    REFERENCE,
    "query.sub(params.windowLeft)",
    "query.sub(params.windowLeft + 1)",
    "transformer/dot-product-attention",
  ),
  mutant(
    "a window ends one key too early on the right",
    REFERENCE,
    "query.add(params.windowRight)",
    "query.add(params.windowRight - 1)",
    "transformer/dot-product-attention",
  ),
  mutant(
    "a mask shows what it should hide",
    REFERENCE,
    "rules.push(x.mask.logicalNot())",
    "rules.push(x.mask.ne(0))",
    "transformer/dot-product-attention",
  ),
  mutant("padding tokens see each other", REFERENCE, ".logicalAnd(own.ne(0))", "", "transformer/packed"),
  mutant(
    "query head n reads group n mod g",
    REFERENCE,
    "const q = heads.reshape([s.batch, s.groups, s.heads / s.groups, s.queries, s.depth]);",
    "const q = heads.reshape([s.batch, s.heads / s.groups, s.groups, s.queries, s.depth]).swapAxes(1, 2);",
    "transformer/dot-product-attention",
  ),
  mutant(
    "a bias before scaling is not scaled",
    REFERENCE,
    'x.bias?.astype("float32").mul(params.biasType === "pre_scale" ? params.scale : 1)',
    'x.bias?.astype("float32")',
    "transformer/dot-product-attention",
  ),
  mutant(
    "the bias is added twice",
    REFERENCE,
    "logits: bias ? scaled.add(bias) : scaled,",
    "logits: bias ? scaled.add(bias).add(bias) : scaled,",
    "transformer/golden",
  ),
  mutant(
    "the sink is left out of the sum",
    REFERENCE,
    "if (sink) total = total.add(sink.sub(top).exp());",
    "",
    "transformer/dot-product-attention",
  ),
  mutant(
    "kept weights of dropout are not scaled",
    REFERENCE,
    'keep.astype("float32").mul(1 / (1 - rate))',
    'keep.astype("float32")',
    "transformer/dropout",
  ),
  mutant(
    "RoPE turns the wrong way",
    "transformer/src/ops/rope.ts",
    "params.inverse ? batched.sin().neg() : batched.sin()",
    "params.inverse ? batched.sin() : batched.sin().neg()",
    "transformer/positions",
  ),
  mutant(
    "relative positions are counted from query to key the other way",
    "transformer/src/relative-position-biases.ts",
    "const base = bidirectional && distance > 0",
    "const base = bidirectional && distance < 0",
    "transformer/positions",
  ),
  mutant(
    "tokens that decode all stand at the first position",
    "transformer/src/kv-cache.ts",
    "cache.index.value = index.add(count);",
    "cache.index.value = index;",
    "transformer/decode",
  ),
  // Layers
  mutant(
    "gelu is the erf form",
    ACTIVATION,
    "x.mul(x).mul(x).mul(0.044715).add(x).mul(SQRT_2_OVER_PI).tanh()",
    "x.div(Math.SQRT2).erf()",
    "layers/activations",
  ),
  mutant(
    "epsilon stands outside of the root",
    NORM,
    ".mean(-1, { keepDims: true }).add(epsilon).rsqrt()",
    ".mean(-1, { keepDims: true }).sqrt().add(epsilon).pow(-1)",
    "layers/norm",
  ),
  mutant("zero-centred gamma is taken as it is", NORM, "zeroCentered ? scale.add(1) : scale", "scale", "layers/golden"),
  mutant(
    "a bias of a dense layer is added twice",
    "layers/src/dense.ts",
    "y.add(bias.astype(y.dtype))",
    "y.add(bias.astype(y.dtype)).add(bias.astype(y.dtype))",
    "layers/golden",
  ),
  mutant(
    "the alpha of adapters is ignored",
    "layers/src/lora.ts",
    "alpha === null ? y : y.mul(alpha / rank)",
    "y",
    "layers/golden",
  ),
  mutant(
    "kept elements of dropout are not scaled",
    "layers/src/ops/dropout.ts",
    ".div(1 - rate)",
    ".div(1)",
    "layers/dropout",
  ),
  mutant(
    "the residual of the MLP is dropped",
    LAYER,
    "dropBranch(transformed).add(residual(hidden, own))",
    "dropBranch(transformed)",
    "transformer/golden",
  ),
  mutant(
    "the residual of attention is dropped",
    LAYER,
    "let hidden = dropBranch(attended).add(residual(x, normalized));",
    "let hidden = dropBranch(attended);",
    "transformer/golden",
  ),
  mutant(
    "the residual after the norm is taken before it",
    LAYER,
    "options.applyResidualConnectionPostLayernorm ? normalized! : input",
    "input",
    "transformer/golden",
  ),
  mutant(
    "query kernels start unscaled",
    "transformer/src/projections.ts",
    ".div(Math.sqrt(headDim))",
    "",
    "transformer/golden",
  ),
  // FP8
  mutant(
    "the gradient of x takes the scale of x for that of the kernel",
    "fp8/src/dot.ts",
    "{ a: grad.q, b: kernel.q, aScaleInv: grad.scaleInv, bScaleInv: kernel.scaleInv }",
    "{ a: grad.q, b: kernel.q, aScaleInv: grad.scaleInv, bScaleInv: x.scaleInv }",
    "layers/golden-fp8",
  ),
  mutant(
    "a tensor is decoded with its scale instead of the inverse",
    "fp8/src/quantizer.ts",
    "scaleInv: div(1, state.scale)",
    "scaleInv: state.scale",
    "fp8/scaled-dot",
  ),
  mutant(
    "the amax is the last one, not the largest",
    SCALING,
    'amaxComputeAlgo === "max" ? history.max(0, { keepDims: true }) : history.slice([0], [1])',
    "history.slice([0], [1])",
    "fp8/delayed-scaling",
  ),
  mutant("the margin is ignored", SCALING, ".mul(2 ** -margin)", "", "fp8/delayed-scaling"),
  mutant(
    "an amax that is not finite makes a scale",
    SCALING,
    "amax.gt(0).logicalAnd(amax.isFinite())",
    "amax.gt(0)",
    "fp8/delayed-scaling",
  ),
  mutant(
    "amax is taken after scaling",
    "fp8/src/ops/quantize.ts",
    "wide.abs().max().reshape([1])",
    "wide.mul(scale.reshape([])).abs().max().reshape([1])",
    "fp8/delayed-scaling",
  ),
  mutant(
    "gradients are rounded to the type of the forward pass",
    "fp8/src/dot.ts",
    "quantizeWith(metas.grad, grad, backward)",
    "quantizeWith(metas.grad, grad, forward)",
    "fp8/dot",
  ),
  mutant(
    "the original collections win over the new ones",
    "fp8/src/collections.ts",
    "const merged = { ...original, ...fresh };",
    "const merged = { ...fresh, ...original };",
    "fp8/collections",
  ),
  mutant(
    "state that is used twice takes the last use alone",
    STATE,
    "before ? use.rule.combine(before.seen, use.seen) : use.seen",
    "use.seen",
    "tensor/state",
  ),
  mutant("state that is used twice is added up", STATE, "if (!next) {", "if (true) {", "tensor/state"),
  mutant(
    "state that no gradient reaches is lost",
    STATE,
    "for (const leaf of named) next.set(leaf, leaf);",
    "",
    "tensor/state",
  ),
  mutant(
    "the amaxes of two uses are added",
    "fp8/src/quantizer.ts",
    "amax: a.amax.maximum(b.amax)",
    "amax: a.amax.add(b.amax)",
    "layers/fp8-state",
  ),
  mutant(
    "gradients give back what they cannot differentiate",
    "tensor/src/transforms/grad.ts",
    'return fail("dtype", fn, rule, leaf,',
    'return leaf ?? fail("dtype", fn, rule, leaf,',
    "tensor/grad-trees",
  ),
  // Sharding and optimizers
  mutant(
    "data parallelism comes before fully sharded",
    "sharding/src/logical-axes.ts",
    "const batch = isSplit(resource.fsdpResource) ? resource.fsdpResource : resource.dpResource;",
    "const batch = resource.dpResource ?? resource.fsdpResource;",
    "sharding/logical-axes",
  ),
  mutant(
    "the rules of the layers come first",
    "sharding/src/rules.ts",
    "[...rules, ...table.filter(([name]) => !given.has(name))]",
    "[...table.filter(([name]) => !given.has(name)), ...rules]",
    "sharding/rules",
  ),
  mutant(
    "AdamW does not correct the bias of its first moment",
    ADAMW,
    "const mean = m2.div(oneMinusPower(b1, t));",
    "const mean = m2;",
    "optim/optimizers",
  ),
  mutant(
    "AdamW does not correct the bias of its second moment",
    ADAMW,
    "const square = v2.div(oneMinusPower(b2, t));",
    "const square = v2;",
    "optim/optimizers",
  ),
  mutant(
    "weight decay is left out",
    ADAMW,
    'direction.add(p.astype("float32").mul(weightDecay))',
    "direction",
    "optim/optimizers",
  ),
];
