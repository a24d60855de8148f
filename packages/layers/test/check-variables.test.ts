/** The strict check of variables, such as weights from elsewhere, against what init makes. */
import { fp8Autocast } from "@te/fp8";
import { evalShape, random, tensor, tree, zeros } from "@te/tensor";
import { expectError, normals } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { checkVariables, DenseGeneral, Embed, LayerNormMLP, Module, type Variables } from "../src/index.js";

class Model extends Module {
  readonly embed = new Embed({ numEmbeddings: 11, features: 6 });
  readonly mlp = new LayerNormMLP({ intermediateDim: 8 });
  readonly head = new DenseGeneral({ features: 6, useBias: true });

  call(ids: any): any {
    return this.head.call(this.mlp.call(this.embed.call(ids), { deterministic: true })[0]);
  }
}

const model = new Model();
const ids = tensor([1, 2, 3], { dtype: "int32" });
const made = model.init(random.key(0), ids);
/** What init made, with some entries of params.head and params.mlp changed; undefined takes one out. */
function changed(head: object, mlp: object = {}): Variables {
  const params: any = made.params;
  const merge = (old: object, change: object) =>
    Object.fromEntries(Object.entries({ ...old, ...change }).filter(([, value]) => value !== undefined));
  return { ...made, params: { ...params, head: merge(params.head, head), mlp: merge(params.mlp, mlp) } };
}
const refused = (variables: unknown, message: RegExp): void => {
  expectError("state", message, () => model.checkVariables(variables as never, ids));
  expectError("state", new RegExp(message.source.replace("^Model.checkVariables", "^checkVariables")), () =>
    checkVariables(made, variables as never),
  );
};
const MESSAGE = "^Model.checkVariables: variables must have the names and shapes that init gives, got";

describe("what is right", () => {
  test("the result of init, without its axes, in 16 bits, and with collections of other calls", () => {
    const narrow = tree.map((leaf: any) => (leaf.astype ? leaf.astype("bfloat16") : leaf), made.params) as never;
    for (const variables of [made, { params: made.params }, { params: narrow }, { ...made, cache: {} }]) {
      expect(() => model.checkVariables(variables, ids)).not.toThrow();
      expect(() => checkVariables(made, variables)).not.toThrow();
    }
  });

  test("the state of FP8 is expected where init makes it", () => {
    fp8Autocast({ enabled: true }, () => {
      const dense = new DenseGeneral({ features: 16 });
      const x = normals([16, 32]);
      const variables = dense.init(random.key(0), x);
      expect(() => dense.checkVariables(variables, x)).not.toThrow();
      expectError("state", /fp8_metas\/kernel_scale float32\[1\] is missing/, () =>
        dense.checkVariables({ params: variables.params }, x),
      );
    });
  });
});

describe("what differs", () => {
  test("a name that is missing, and the nearest one that is not expected", () => {
    const kernel = (made.params as any).head.kernel;
    refused(
      changed({ kernel: undefined, kernal: kernel }),
      new RegExp(
        `${MESSAGE} 2 differences:\\n {2}params/head/kernel float32\\[6,6\\] is missing; is it params/head/kernal\\?` +
          `\\n {2}params/head/kernal float32\\[6,6\\] is unexpected; is it params/head/kernel\\?$`,
      ),
    );
    refused(
      changed({ bias: undefined }),
      new RegExp(`${MESSAGE} 1 difference:\\n {2}params/head/bias float32\\[6\\] is missing$`),
    );
    refused({ params: { ...made.params, extra: { w: kernel } } }, /params\/extra\/w float32\[6,6\] is unexpected$/);
  });

  test("a foreign name says which way its weights lie, square ones included", () => {
    const kernel = (made.params as any).head.kernel;
    refused(
      changed({ kernel: undefined, weight: kernel }),
      /params\/head\/kernel float32\[6,6\] is missing; is it params\/head\/weight\? A weight of PyTorch's Linear is \[out, in\] and a kernel \[in, out\]: transpose it, square or not\./,
    );
  });

  test("a shape: transposed, of as many elements, another", () => {
    refused(
      changed({}, { wi_kernel: zeros([8, 1, 6]), wo_kernel: zeros([6, 8]) }),
      /params\/mlp\/wi_kernel must have shape \[6,1,8\], got float32\[8,1,6\]: is it transposed\? A kernel is \[in, out\]\.\n.*wo_kernel must have shape \[8,6\], got float32\[6,8\]: is it transposed/,
    );
    refused(changed({}, { wi_kernel: zeros([1, 8, 6]) }), /got float32\[1,8,6\]: is it transposed/);
    refused(
      changed({}, { wi_kernel: zeros([6, 8]) }),
      /got float32\[6,8\], of as many elements: does it want a reshape/,
    );
    refused(changed({}, { wi_kernel: zeros([6, 9]) }), /got float32\[6,9\]$/);
  });

  test("integers where floats are, and what is no tensor", () => {
    refused(changed({ bias: zeros([6], { dtype: "int32" }) }), /params\/head\/bias must be floating, got int32\[6\]/);
    refused(changed({ bias: 3 }), /params\/head\/bias must have shape \[6\], got number\[\]/);
    refused({ ...made, params: 3 }, /params must be a collection/);
    refused(undefined, /variables must be an object of collections, got undefined/);
    const loop: any = { ...made.params };
    loop.self = loop;
    refused({ params: loop }, /variables must be a tree of at most 100 levels, got params\/self\/self/);
  });

  test("a collection that is missing as a whole", () => {
    refused({ param: made.params }, /params\/embed\/embedding float32\[11,6\] is missing/);
  });

  test("the first twenty of many", () => {
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`w${i}`, zeros([1])]));
    refused(
      { params: { ...made.params, many } },
      /got 30 differences:(\n {2}params\/many\/w\d+ .*){20}\n {2}and 10 more$/,
    );
  });
});

test("evalShape gives shapes and dtypes without computing", () => {
  const big = { shape: [4096, 4096], dtype: "bfloat16" };
  const f = (x: any) => ({ y: x.broadcastTo([4096, 4096]).astype("bfloat16"), n: 3, list: [x] });
  expect(evalShape(f, zeros([1]))).toEqual({ y: big, n: 3, list: [{ shape: [1], dtype: "float32" }] });
  expectError("option", /^evalShape: the first argument must be a function/, () => evalShape(3 as never));
});
