/** One thing that the fuzzer does, and what may come of it. */
export interface Call {
  readonly kind: "call" | "op" | "module" | "program" | "file";
  /** What is done, in one line. */
  readonly text: string;
  /** Does it. What is wrong with a result, or undefined; errors of the call are thrown. */
  readonly run: () => Promise<string | undefined>;
}
