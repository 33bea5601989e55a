// Update rules walk down landscapes: two sliders, several rules side by side (O3, O6, O8).
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Descent } from "../messages";
import { keep } from "../parts/address";
import { tell } from "../parts/api";
import { Chart, SERIES } from "../parts/chart";
import { Failure } from "../parts/failure";
import { useWidth } from "../parts/hooks";
import { Choice, Slider } from "../parts/pieces";
import { colour, useTheme } from "../parts/theme";
import { number } from "../parts/words";

const RULES = ["sgd", "momentum", "momentum_a", "momentum_d", "nesterov", "adagrad", "rmsprop", "adam"];
const PLACES = ["ravine", "saddle", "minima", "rosenbrock"];
const PRESETS: [string, Partial<Asked>][] = [
  ["rate 0.001, no momentum", { on: "ravine", rules: ["momentum"], rate: 0.001, momentum: 0 }],
  ["rate 0.005, no momentum", { on: "ravine", rules: ["momentum"], rate: 0.005, momentum: 0 }],
  ["rate 0.001, momentum 0.9", { on: "ravine", rules: ["momentum"], rate: 0.001, momentum: 0.9 }],
];

interface Asked {
  on: string;
  rules: string[];
  rate: number;
  momentum: number;
  steps: number;
  start: number[];
}

const FIRST: Asked = { on: "ravine", rules: ["sgd", "momentum"], rate: 0.005, momentum: 0.9, steps: 150, start: [] };

function fromAddress(): Asked {
  const given = new URLSearchParams(location.search);
  const value = (name: keyof Asked, usual: number) => Number(given.get(name) ?? usual);
  return {
    on: given.get("on") ?? FIRST.on,
    rules: given.get("rules")?.split(",") ?? FIRST.rules,
    rate: value("rate", FIRST.rate),
    momentum: value("momentum", FIRST.momentum),
    steps: value("steps", FIRST.steps),
    start: given.get("start")?.split(",").map(Number) ?? [],
  };
}

export default function DescendPage() {
  const [asked, setAsked] = useState(fromAddress);
  const [found, setFound] = useState<Descent>();
  const [error, setError] = useState<unknown>();
  const change = (part: Partial<Asked>) => setAsked((was) => ({ ...was, ...part }));
  useEffect(() => {
    keep(`?${new URLSearchParams(Object.entries(asked).filter(([, v]) => String(v) !== "").map(([k, v]) => [k, String(v)]))}`);
    let current = true;
    tell<Descent>("labs/descend", asked).then(
      (value) => {
        if (!current) return;
        setFound(value);
        setError(undefined);
      },
      (problem) => current && setError(problem),
    );
    return () => {
      current = false;
    };
  }, [asked]);
  const toggle = (rule: string) =>
    change({ rules: RULES.filter((r) => (r === rule ? !asked.rules.includes(r) : asked.rules.includes(r))) });
  const lines = useMemo(
    () => found?.walks.map((walk) => ({
      name: walk.rule.replaceAll("_", " "),
      x: walk.value.map((_, i) => i),
      y: walk.value.map((v) => (v === null ? null : Math.max(1e-12, v - Math.min(0, ...found.heights.flat())))),
    })) ?? [],
    [found],
  );
  return (
    <>
      <h1>Descend</h1>
      <p class="hint">{found?.about}. Click the landscape to start elsewhere.</p>
      <div class="row wrap">
        <Choice label="landscape" value={asked.on} options={PLACES} set={(on) => change({ on, start: [] })} />
        <span class="switch" role="group" aria-label="The lecture's three settings">
          {PRESETS.map(([name, part]) => (
            <button onClick={() => change({ ...part, start: [] })}>{name}</button>
          ))}
        </span>
      </div>
      <div class="form">
        <Slider label="learning rate" log value={asked.rate} low={1e-5} high={1} set={(rate) => change({ rate })} />
        <Slider label="momentum" value={asked.momentum} low={0} high={0.99} step={0.01} set={(momentum) => change({ momentum })} />
        <Slider label="steps" value={asked.steps} low={10} high={1000} step={10} set={(steps) => change({ steps })} />
      </div>
      <div class="chips" role="group" aria-label="Update rules">
        {RULES.map((rule) => (
          <button aria-pressed={asked.rules.includes(rule)} onClick={() => toggle(rule)}>
            <span class="dot circle" style={{ background: asked.rules.includes(rule) ? `var(--${SERIES[asked.rules.indexOf(rule) % SERIES.length]})` : "transparent" }} />
            {rule.replaceAll("_", " ")}
          </button>
        ))}
      </div>
      <Failure error={error} />
      {found && (
        <div class="looks">
          <Land found={found} start={(start) => change({ start })} />
          <div class="grow">
            <table>
              <thead>
                <tr>
                  <th scope="col">rule</th>
                  <th scope="col">last value</th>
                  <th scope="col">outcome</th>
                </tr>
              </thead>
              <tbody>
                {found.walks.map((walk) => (
                  <tr>
                    <th scope="row">{walk.rule.replaceAll("_", " ")}</th>
                    <td class="figure">{number(walk.value.findLast((v) => v !== null))}</td>
                    <td>
                      {walk.left !== null
                        ? `diverges: out of all bounds at step ${walk.left}`
                        : walk.arrived !== null
                          ? `arrives at step ${walk.arrived}`
                          : "not there yet"}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            <Best found={found} set={change} />
            <Chart title="Value above the lowest, by step" log lines={lines} height={200} />
          </div>
        </div>
      )}
    </>
  );
}

function Best({ found, set }: { found: Descent; set: (part: Partial<Asked>) => void }) {
  const [low, high] = found.curvatures;
  if (found.best_rate === null) return <p class="hint">This landscape is not curved upwards everywhere.</p>;
  return (
    <p>
      Where it is lowest its curvature is {number(low, 3)} one way and {number(high, 3)} the other. For such a
      quadratic the best rate of plain descent is 2/(λ₁+λ₂) ={" "}
      <button class="inline" onClick={() => set({ rate: found.best_rate!, momentum: 0, rules: ["momentum"] })}>
        {number(found.best_rate, 3)}
      </button>
      ; above {number(2 / high!, 3)} it diverges. With momentum:{" "}
      <button class="inline"
        onClick={() => set({ rate: found.best_momentum_rate!, momentum: Number(found.best_momentum!.toFixed(3)), rules: ["momentum"] })}>
        {number(found.best_momentum_rate, 3)} and β = {number(found.best_momentum, 3)}
      </button>
      .
    </p>
  );
}

function Land({ found, start }: { found: Descent; start: (at: number[]) => void }) {
  const [box, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  const [left, right, bottom, top] = found.box as [number, number, number, number];
  const size = Math.min(520, width);
  const height = size * 0.8;
  const place = (x: number, y: number): [number, number] => [
    ((x - left) / (right - left)) * size,
    ((top - y) / (top - bottom)) * height,
  ];
  useEffect(() => {
    const element = canvas.current;
    const pen = element?.getContext("2d");
    if (!element || !pen || !size) return;
    element.width = size * devicePixelRatio;
    element.height = height * devicePixelRatio;
    pen.scale(devicePixelRatio, devicePixelRatio);
    const rows = found.heights;
    const flat = rows.flat();
    const low = Math.min(...flat);
    const span = Math.log1p(Math.max(...flat) - low);
    const cell = [size / rows[0]!.length, height / rows.length] as const;
    const dark = document.documentElement.dataset.theme === "dark";
    rows.forEach((row, i) =>
      row.forEach((value, j) => {
        const level = Math.floor(16 * Math.sqrt(Math.log1p(value - low) / span)) / 16;
        const light = dark ? 12 + 34 * level : 97 - 42 * level;
        pen.fillStyle = `hsl(205 35% ${light}%)`;
        pen.fillRect(j * cell[0], i * cell[1], cell[0] + 1, cell[1] + 1);
      }),
    );
    found.walks.forEach((walk, i) => {
      pen.strokeStyle = pen.fillStyle = colour(SERIES[i % SERIES.length]!);
      pen.lineWidth = 2;
      pen.beginPath();
      walk.x.forEach((x, j) => {
        const at = place(x, walk.y[j]!);
        if (j) pen.lineTo(...at);
        else pen.moveTo(...at);
      });
      pen.stroke();
      walk.x.slice(0, 300).forEach((x, j) => {
        const [px, py] = place(x, walk.y[j]!);
        pen.fillRect(px - 2, py - 2, 4, 4);
      });
    });
    pen.font = "bold 18px system-ui";
    pen.fillStyle = colour("ink");
    const [lx, ly] = place(found.lowest[0]!, found.lowest[1]!);
    pen.fillText("×", lx - 6, ly + 6);
  }, [found, size, theme]);
  return (
    <div ref={box} class="grow land">
      <canvas
        ref={canvas}
        style={{ width: `${size}px`, height: `${height}px` }}
        role="img"
        aria-label={`${found.about}; paths of ${found.walks.map((w) => w.rule).join(", ")}`}
        onClick={(event) => {
          const at = canvas.current!.getBoundingClientRect();
          const x = left + ((event.clientX - at.left) / at.width) * (right - left);
          const y = top - ((event.clientY - at.top) / at.height) * (top - bottom);
          start([Number(x.toPrecision(3)), Number(y.toPrecision(3))]);
        }}
      />
    </div>
  );
}
