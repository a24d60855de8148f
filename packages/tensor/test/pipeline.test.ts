/** The pipeline: passes run in order, other packages add theirs, and what was compiled without one is compiled again. */
import { jit, makeProgram, setDevice, type Tensor, tensor } from "@te/tensor";
import { addPass, type Pass, type Program, passes, runPasses } from "@te/tensor/backend";
import { expectError } from "@te/testkit";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

const names = (): string[] => passes().map(({ name }) => name);
const removers: (() => void)[] = [];
const add = (...args: Parameters<typeof addPass>): (() => void) => {
  const remove = addPass(...args);
  removers.push(remove);
  return remove;
};
beforeEach(() => setDevice("reference"));
afterEach(() => {
  for (const remove of removers.splice(0)) remove();
  setDevice("auto");
  vi.unstubAllEnvs();
});

const present: Pass = { name: "present", run: (program) => program };
/** What another package might do: cosines instead of sines, an error that results show. */
const cosines: Pass = {
  name: "cosines",
  when: ({ nodes }) => nodes.some(({ op }) => op.name === "sin"),
  run(program: Program) {
    const { op } = makeProgram((x: Tensor) => x.cos())(tensor([1])).nodes[0]!;
    return program.with({ nodes: program.nodes.map((node) => (node.op.name === "sin" ? { ...node, op } : node)) });
  },
};

describe("addPass", () => {
  test("puts a pass where it was told to, until it is taken out", () => {
    const before = names();
    expect(before).toEqual(["simplify", "expand", "simplify references", "schedule recomputation"]);
    const remove = add(present, { before: "expand" });
    add({ ...present, name: "last" }, { after: "schedule recomputation" });
    expect(names()).toEqual([before[0], "present", ...before.slice(1), "last"]);
    remove();
    remove();
    expect(names()).toEqual([...before, "last"]);
  });

  test("programs see it at once: eager ones, and those that jit had compiled", () => {
    const x = tensor([0]);
    const f = jit((x: Tensor) => x.sin());
    const run = () => [f(x).dataSync()[0], x.sin().dataSync()[0]];
    expect(run()).toEqual([0, 0]);
    const remove = add(cosines, { after: "simplify" });
    expect(run()).toEqual([1, 1]);
    remove();
    expect(run()).toEqual([0, 0]);
  });

  test("knows whether the pass before changed the program, and what the device supports", () => {
    const seen: unknown[] = [];
    const watch: Pass = {
      name: "watch",
      run: (program, { changed, supports }) => {
        seen.push(changed, supports(program.spec(program.nodes[0]!)));
        return program;
      },
    };
    add(watch, { before: "schedule recomputation" });
    const program = makeProgram((x: Tensor) => x.cos().exp())(tensor([1]));
    runPasses(program, ({ op }) => (op === "cos" ? "too round" : true));
    add(cosines, { before: "watch" });
    runPasses(makeProgram((x: Tensor) => x.sin())(tensor([1])), () => true);
    expect(seen).toEqual([false, "too round", true, true]);
  });

  test("refuses what is no pass, a name that is taken, and a place that is not there", () => {
    expectError("option", /^addPass: every pass needs a name of its own, got simplify\.$/, () =>
      addPass({ ...present, name: "simplify" }, { before: "expand" }),
    );
    expectError(
      "option",
      /^addPass: place must be before or after a pass, got nowhere\. Passes: simplify, expand, /,
      () => addPass(present, { after: "nowhere" }),
    );
    for (const wrong of [undefined, {}, { name: "x" }, { name: 3, run: present.run }, { ...present, when: 1 }])
      expectError("option", /^addPass: /, () => addPass(wrong as never, { after: "expand" }));
  });

  test("what a pass returns must be a program", () => {
    add({ name: "forgetful", run: () => undefined as never }, { after: "expand" });
    expectError("option", /^forgetful: program must be a Program/, () => tensor([1]).exp());
  });
});

test("TE_LOG=passes prints each pass with the nodes before and after it", () => {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  vi.stubEnv("TE_LOG", "passes");
  runPasses(makeProgram((x: Tensor) => x.exp().add(x.exp()))(tensor([1])), () => true);
  const lines = write.mock.calls.map(([line]) => String(line));
  write.mockRestore();
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/^te: simplify: 2 nodes after 3 nodes, \d+\.\d ms\n$/);
  expect(lines[1]).toMatch(/^te: expand: 2 nodes as before, \d+\.\d ms\n$/);
});
