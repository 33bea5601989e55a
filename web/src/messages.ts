// Made by `python -m striate.studio.typescript` from studio/messages.py.

export interface Session {
  version: string;
  read_only: boolean;
  folder: string;
}

export interface RunRow {
  id: string;
  name: string;
  state: "preparing" | "running" | "finished" | "can be resumed" | "not begun" | "failed" | "damaged";
  source: string;
  task: string;
  model: string;
  epoch: number;
  epochs: number;
  step: number;
  steps: number;
  score_name: string;
  split: string;
  score: number | null;
  low: number | null;
  high: number | null;
  seconds: number | null;
  seconds_left: number | null;
  images_per_second: number | null;
  finding: string;
  parent: string;
  parent_step: number | null;
  fault: string;
}

export interface FindingRow {
  rule: string;
  verdict: string;
  confidence: number | null;
  text: string;
  remedies: string[];
  source: string;
  curves: Record<string, (number | null)[]>;
  at: string;
}

export interface KnobValue {
  name: string;
  value: unknown;
  why: string;
}

export interface CheckpointRow {
  step: number;
  epoch: number;
  score: number | null;
}

export interface ScoreRow {
  name: string;
  value: number | null;
  low: number | null;
  high: number | null;
  by: string;
}

export interface RunDetail {
  row: RunRow;
  classes: string[];
  images: Record<string, number>;
  parameters: number;
  verdict: string;
  findings: FindingRow[];
  notes: string[];
  knobs: KnobValue[];
  checkpoints: CheckpointRow[];
  scores: ScoreRow[];
}

export interface Curves {
  id: string;
  generation: number;
  epochs: number;
  measurements: number;
  step: number[];
  loss: (number | null)[];
  lr: (number | null)[];
  gradient: (number | null)[];
  epoch_step: number[];
  train_loss: (number | null)[];
  val_loss: (number | null)[];
  val_score: (number | null)[];
  measured: number[];
  dead: Record<string, (number | null)[]>;
}

export interface Knob {
  name: string;
  group: string;
  kind: "number" | "whole" | "yes_no" | "choice" | "text" | "list";
  default: unknown;
  auto: boolean;
  choices: string[];
  low: number | null;
  high: number | null;
  doc: string;
  everyday: boolean;
}

export interface SourceRow {
  id: string;
  name: string;
  kind: string;
}

export interface Guess {
  name: string;
  probability: number;
}

export interface Seen {
  number: number;
  name: string;
  truth: string[];
  guesses: Guess[];
  right: boolean;
}

export interface Strip {
  id: string;
  weights: string;
  step: number;
  images: Seen[];
  tiles: string;
  side: number;
  wait: number;
}

export interface LayerRow {
  name: string;
  channels: number;
  height: number;
  width: number;
}

export interface Inside {
  layer: string;
  layers: LayerRow[];
  shown: number[];
  side: number;
  filters: string;
  maps: string;
  gradients: string;
  saliency: string;
  image: string;
  answer: string;
  wait: number;
}

export interface Patches {
  layer: string;
  unit: number;
  tiles: string;
  side: number;
  names: string[];
  values: number[];
}

export interface SetFacts {
  id: string;
  name: string;
  classes: string[];
  splits: Record<string, number>;
  findings: Record<string, number>;
  judged: string;
  doubtful: string;
  marked: number;
}

export interface Selection {
  count: number;
  first: number[];
}

export interface Neighbour {
  number: number;
  name: string;
  label: string;
  likeness: number;
}

export interface ImageFacts {
  number: number;
  name: string;
  split: string;
  labels: string[];
  width: number;
  height: number;
  findings: string[];
  doubtful: boolean;
  picture: string;
  saliency: string;
  guesses: Guess[];
  neighbours: Neighbour[];
}

export interface MapFacts {
  x: number[];
  y: number[];
  numbers: number[];
  groups: number[];
  classes: string[];
  notes: string[];
}

export interface Asked {
  guesses: Guess[];
  saliency: string;
  picture: string;
  boxes: number[][];
}

export interface Difference {
  knobs: unknown[][];
  known: boolean;
  images: number;
  difference: number | null;
  low: number | null;
  high: number | null;
  note: string;
}

export interface Walk {
  rule: string;
  x: number[];
  y: number[];
  value: (number | null)[];
  left: number | null;
  arrived: number | null;
}

export interface Descent {
  about: string;
  box: number[];
  heights: number[][];
  walks: Walk[];
  curvatures: number[];
  best_rate: number | null;
  best_momentum_rate: number | null;
  best_momentum: number | null;
  start: number[];
  lowest: number[];
}

export interface GraphNode {
  id: number;
  name: string;
  made: string;
  value: string;
  gradient: string;
  parents: number[];
  locals: string[];
  parts: string[];
  depth: number;
  constant: boolean;
}

export interface Graph {
  nodes: GraphNode[];
  names: string[];
}

export interface Convolved {
  image: number[][];
  padded: number[][];
  kernel: number[][];
  output: number[][];
  formula: string;
  stride: number;
  dilation: number;
  padding: number;
}

export interface Problem {
  message: string;
  hint: string;
}
