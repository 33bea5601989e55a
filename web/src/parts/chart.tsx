// A line chart that stays quick with many points: uPlot behind a plain description.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useWidth } from "./hooks";
import { colour, useTheme } from "./theme";
import { number } from "./words";

export interface Line {
  name: string;
  x: number[];
  y: (number | null)[];
  points?: boolean;
  faint?: boolean;
}

interface Props {
  title: string;
  lines: Line[];
  log?: boolean;
  height?: number;
  x?: string;
}

export const SERIES = ["blue", "orange", "green", "purple", "sky", "yellow", "red", "grey"];

// uPlot wants one x for all lines: each line has holes where it says nothing.
function joined(lines: Line[]): uPlot.AlignedData {
  const tables = lines.map((line) => [line.x, line.y] as uPlot.AlignedData);
  return tables.length ? uPlot.join(tables) : [[]];
}

export function Chart({ title, lines, log = false, height = 190, x = "step" }: Props) {
  const [box, width] = useWidth();
  const plot = useRef<uPlot>();
  const theme = useTheme();
  const names = lines.map((line) => line.name + (line.points ?? "") + (line.faint ?? "")).join();
  useEffect(() => {
    if (!box.current || !width) return;
    const ink = colour("ink-2");
    const axis = { stroke: ink, grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false },
      font: "12px system-ui" };
    const made = new uPlot(
      {
        width,
        height,
        cursor: { points: { size: 7 } },
        legend: { live: true },
        scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
        axes: [
          { ...axis, size: 28 },
          { ...axis, size: 58, values: (_, ticks) => ticks.map((v) => v === null ? "" : number(v, log ? 1 : 3)) },
        ],
        series: [
          { label: x, value: (_, v) => (v === null ? "–" : number(v, 7)) },
          ...lines.map((line, i) => ({
            label: line.name,
            stroke: colour(SERIES[i % SERIES.length]!) + (line.faint ? "99" : ""),
            width: line.faint ? 1 : 2,
            spanGaps: true,
            dash: i >= SERIES.length ? [6, 4] : undefined,
            points: { show: Boolean(line.points) && line.x.length < 200, size: 5 },
            value: (_: uPlot, v: number | null) => number(v),
          })),
        ],
      },
      joined(lines),
      box.current,
    );
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = undefined;
    };
  }, [width > 0, names, log, theme]);
  useEffect(() => plot.current?.setSize({ width, height }), [width, height]);
  useEffect(() => plot.current?.setData(joined(lines)), [lines]);
  const last = lines.map((line) => `${line.name} ${number(line.y.findLast((v) => v !== null))}`);
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      <div ref={box} role="img" aria-label={`${title}. Last values: ${last.join(", ") || "none"}`} />
    </figure>
  );
}
