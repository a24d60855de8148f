/** Parts of @te/tensor that its users do not need and its judges do. */
export { expand } from "../../tensor/src/program/expand.js";
export { simplify } from "../../tensor/src/program/simplify.js";
export { referenceBackend } from "../../tensor/src/reference/backend.js";
export { evaluateProgram } from "../../tensor/src/reference/evaluate.js";
