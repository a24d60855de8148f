/** Every case of both products, with kernels of the GPU and none of the reference. */
import { setDevice } from "@te/tensor";
import { runCase, testBackend } from "@te/testkit";
import { beforeAll, describe, test } from "vitest";
import { productCases } from "./product-cases.js";

export function judgeProducts(): void {
  testBackend("cuda", { ops: ["dot", "scaled_dot"], mayDecline: [] });
  describe.each(productCases.map(([op, cases]) => [op.name, op, cases] as const))("more of %s", (_, op, cases) => {
    beforeAll(() => setDevice("cuda"));
    test.each(cases.map((of) => [of.name, of] as const))("%s", (_, of) => runCase(op, of));
  });
}
