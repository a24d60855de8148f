/** What others train and time: the model, its sizes and its step. */
export * from "./model.js";
export * from "./train.js";
