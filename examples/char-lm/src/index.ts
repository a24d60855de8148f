// What a benchmark needs of the demo.
export { DEMO_MODEL, type ModelConfig, trainingFlopsPerToken } from "./model.js";
export { createTrainer, disposeAll, PRECISIONS, type Precision, type Trainer } from "./train.js";
