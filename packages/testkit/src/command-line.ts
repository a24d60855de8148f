/** Arguments of the programs in this repository, read the same way in all of them. */
import { type ParseArgsConfig, parseArgs } from "node:util";

/** The arguments of a program; an unknown one ends it with a sentence and its usage. */
export function readArgs<const T extends ParseArgsConfig>(program: string, usage: string, config: T) {
  try {
    return parseArgs(config);
  } catch (error) {
    process.stderr.write(`${program}: ${(error as Error).message}\nUse ${usage}.\n`);
    return process.exit(2);
  }
}
