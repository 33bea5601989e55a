// An expression as a computation graph: values forward, gradients back (L2).
import { useEffect, useState } from "preact/hooks";
import type { Graph, GraphNode } from "../messages";
import { keep } from "../parts/address";
import { tell } from "../parts/api";
import { Failure } from "../parts/failure";
import { Field } from "../parts/pieces";

const EXAMPLES: [string, string][] = [
  ["(x + y) * z", "x=-2 y=5 z=-4"],
  ["sigmoid(w0*x0 + w1*x1 + b)", "w0=2 x0=-1 w1=-3 x1=-2 b=-3"],
  ["max(0, w*x + b)", "w=1.5 x=2 b=-1"],
  ["log(exp(a) + exp(b))", "a=1 b=2"],
  ["sum((w @ x - t)**2)", "w=[[1,2],[3,4]] x=[1,-1] t=[0,0]"],
];
const WIDE = 168;
const HIGH = 92;

function parsed(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const match of text.matchAll(/([\p{L}_][\p{L}\p{N}_]*)\s*=\s*(\[[^=]*\]|[^\s=]+)/gu))
    found[match[1]!] = match[2]!;
  return found;
}

export default function GraphPage() {
  const query = new URLSearchParams(location.search);
  const [expression, setExpression] = useState(query.get("f") ?? EXAMPLES[0]![0]);
  const [values, setValues] = useState(query.get("values") ?? EXAMPLES[0]![1]);
  const [found, setFound] = useState<Graph>();
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    let current = true;
    keep(`?${new URLSearchParams({ f: expression, values })}`);
    tell<Graph>("labs/graph", { expression, values: parsed(values) }).then(
      (graph) => {
        if (!current) return;
        setFound(graph);
        setError(undefined);
      },
      (problem) => current && setError(problem),
    );
    return () => {
      current = false;
    };
  }, [expression, values]);
  return (
    <>
      <h1>Graph</h1>
      <p class="hint">
        Values go forward (upper figure), gradients of the result come back (lower figure). On an edge:
        upstream × local = what reaches the input. Numbers, names, + − * / ** @ and exp log max relu sigmoid
        sum tanh.
      </p>
      <div class="form">
        <Field label="expression">
          <input class="code" value={expression} onInput={(event) => setExpression(event.currentTarget.value)} />
        </Field>
        <Field label="values">
          <input class="code" value={values} onInput={(event) => setValues(event.currentTarget.value)} />
        </Field>
      </div>
      <div class="chips">
        {EXAMPLES.map(([f, given]) => (
          <button onClick={() => { setExpression(f); setValues(given); }}>{f}</button>
        ))}
      </div>
      <Failure error={error} />
      {found && !error && <Drawing graph={found} />}
      {found && !error && <Steps graph={found} />}
    </>
  );
}

interface Placed extends GraphNode {
  x: number;
  y: number;
}

function Drawing({ graph }: { graph: Graph }) {
  const depth = Math.max(...graph.nodes.map((node) => node.depth));
  const rows = new Map<number, number>();
  const placed: Placed[] = graph.nodes.map((node) => {
    const row = rows.get(node.depth) ?? 0;
    rows.set(node.depth, row + 1);
    return { ...node, x: node.depth, y: row };
  });
  const tallest = Math.max(...rows.values());
  for (const node of placed) node.y += (tallest - rows.get(node.depth)!) / 2;
  const [width, height] = [(depth + 1) * WIDE, tallest * HIGH + 10];
  const at = (node: Placed) => [node.x * WIDE + 10, node.y * HIGH + 10] as const;
  return (
    <div class="scroll" tabIndex={0} role="img" aria-label="The computation graph; the table below says the same">
      <svg width={width} height={height} class="graph">
        {placed.flatMap((node) =>
          node.parents.map((parent, i) => {
            const from = placed[parent]!;
            const [x1, y1] = [at(from)[0] + 118, at(from)[1] + 32];
            const [x2, y2] = [at(node)[0], at(node)[1] + 32];
            return (
              <g>
                <path d={`M${x1} ${y1} C${x1 + 30} ${y1} ${x2 - 30} ${y2} ${x2} ${y2}`} />
                {!from.constant && (
                  <text x={x1 + 0.35 * (x2 - x1)} y={y1 + 0.35 * (y2 - y1) - 5} class="part">
                    {node.parts[i]}
                  </text>
                )}
              </g>
            );
          }),
        )}
        {placed.map((node) => (
          <g transform={`translate(${at(node).join()})`} class={node.constant ? "constant" : ""}>
            <rect width="118" height="64" rx="8" />
            <text x="8" y="17" class="name">
              {node.name}
              {node.made && ` = ${node.made}`}
            </text>
            <text x="8" y="37" class="value">
              {node.value}
            </text>
            {!node.constant && (
              <text x="8" y="56" class="gradient">
                {node.gradient}
              </text>
            )}
          </g>
        ))}
      </svg>
    </div>
  );
}

function Steps({ graph }: { graph: Graph }) {
  return (
    <table>
      <caption>Backwards, from the result to its inputs</caption>
      <thead>
        <tr>
          <th scope="col">edge</th>
          <th scope="col">upstream</th>
          <th scope="col">× local</th>
          <th scope="col">= gradient</th>
        </tr>
      </thead>
      <tbody>
        {[...graph.nodes].reverse().flatMap((node) =>
          node.parents.map((parent, i) => {
            const input = graph.nodes[parent]!;
            return (
              !input.constant && (
                <tr>
                  <th scope="row">
                    {node.name} → {input.name}
                  </th>
                  <td class="figure">{node.gradient}</td>
                  <td class="figure">{node.locals[i]}</td>
                  <td class="figure">{node.parts[i]}</td>
                </tr>
              )
            );
          }),
        )}
      </tbody>
    </table>
  );
}
