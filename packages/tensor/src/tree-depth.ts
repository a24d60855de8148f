/** How deep trees may be. */
import { fail } from "./errors.js";

const DEPTH_LIMIT = 1000;

/** Throws for a tree that is too deep, as one that contains itself is. */
export function checkDepth(depth: number): void {
  if (depth > DEPTH_LIMIT)
    fail("state", "tree", `a tree may have ${DEPTH_LIMIT} levels and must not contain itself`, `level ${depth}`);
}
