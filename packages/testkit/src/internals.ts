/** Parts of @te/tensor that its users do not need and its judges do. */
export { expand } from "../../tensor/src/program/expand.js";
export { referenceBackend } from "../../tensor/src/reference/backend.js";
export { evaluateProgram } from "../../tensor/src/reference/evaluate.js";
