/** Options of the command line: what they mean, and the sentence that a wrong one gets. */
import { describe, expect, test } from "vitest";
import { parseOptions, UsageError } from "../src/options.js";

const parse = (line: string) => parseOptions(line.split(" ").filter(Boolean));

describe("options", () => {
  test("nothing given leaves everything to the plan", () => {
    const { device, help, ...rest } = parse("");
    expect({ device, help }).toEqual({ device: "auto", help: false });
    expect(Object.values(rest).every((value) => value === undefined)).toBe(true);
  });

  test("values arrive as numbers and names", () => {
    expect(parse("--device reference --steps 12 --batch=4 --seed 7 --out somewhere")).toMatchObject({
      device: "reference",
      steps: 12,
      batch: 4,
      seed: 7,
      out: "somewhere",
      precision: undefined,
    });
    expect(parse("--mesh data=2,tpsp=4")).toMatchObject({ mesh: { data: 2, tpsp: 4 }, processes: undefined });
    expect(parse("--processes 3")).toMatchObject({ mesh: { data: 3 }, processes: 3 });
    expect(parse("--processes 4 --mesh fsdp=2,tensor=2 --resume a").mesh).toEqual({ fsdp: 2, tensor: 2 });
    expect(parse("--resume a/b.safetensors").resume).toBe("a/b.safetensors");
  });

  test.each([
    ["--dtype float32", "float32", "none", "float32"],
    ["--dtype bfloat16", "bfloat16", "none", "bfloat16"],
    ["--recipe delayed", "bfloat16", "delayed", "bfloat16 + FP8"],
    ["--recipe none", "bfloat16", "none", "bfloat16"],
    ["--dtype float32 --recipe delayed", "float32", "delayed", "float32 + FP8"],
    ["--recipe current", "bfloat16", "current", "bfloat16 + FP8, current scaling"],
  ])("%s means one run", (line, dtype, recipe, name) => {
    expect(parse(line).precision).toEqual({ dtype, recipe, name });
  });

  test.each([
    ["--device tpu", '--device must be one of auto, cpu, reference, cuda, got "tpu".'],
    ["--dtype float8", '--dtype must be one of float32, bfloat16, got "float8".'],
    ["--recipe mxfp8", '--recipe must be one of none, delayed, current, got "mxfp8".'],
    ["--steps 0", '--steps must be a whole number from 1 to 1000000, got "0".'],
    ["--steps 1e3", '--steps must be a whole number from 1 to 1000000, got "1e3".'],
    ["--batch -1", '--batch must be a whole number from 1 to 4096, got "-1".'],
    ["--batch=-1", '--batch must be a whole number from 1 to 4096, got "-1".'],
    ["--seed 1.5", '--seed must be a whole number from 0 to 4294967295, got "1.5".'],
    ["--mesh model=2", '--mesh must be sizes of data, fsdp, and tensor or tpsp, as in data=2,tensor=2, got "model=2".'],
    ["--mesh data", '--mesh must be sizes of data, fsdp, and tensor or tpsp, as in data=2,tensor=2, got "data".'],
    ["--mesh data=0", 'as in data=2,tensor=2, got "data=0".'],
    ["--mesh data=2,data=2", 'as in data=2,tensor=2, got "data=2,data=2".'],
    ["--mesh tensor=2,tpsp=2", 'as in data=2,tensor=2, got "tensor=2,tpsp=2".'],
    ["--mesh", "--mesh needs a value, as in --mesh data=2,tensor=2."],
    ["--processes 1", '--processes must be a whole number from 2 to 1024, got "1".'],
    ["--processes 2 --mesh data=4", '--processes must be as many as the mesh has devices, 4, got "2".'],
    ["--steps", "--steps needs a value, as in --steps 100."],
    ["--fast", "--fast is not an option; --help lists them."],
    ["100", '"100" is not an option; --help lists them.'],
    ["--resume a --steps 5", "--steps cannot be changed with --resume, because the saved run goes on as it began."],
  ])("%s is an error of one sentence", (line, message) => {
    expect(() => parse(line)).toThrow(UsageError);
    expect(() => parse(line)).toThrow(message);
  });
});
