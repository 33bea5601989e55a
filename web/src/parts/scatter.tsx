// A map of images: points in colours and shapes, and a lasso around some of them.
import { useEffect, useRef, useState } from "preact/hooks";
import type { MapFacts } from "../messages";
import { SERIES } from "./chart";
import { useWidth } from "./hooks";
import { colour, useTheme } from "./theme";

const SHAPES = ["circle", "square", "triangle"] as const;
type Point = [number, number];

function inside(path: Point[], [x, y]: Point): boolean {
  let odd = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [xi, yi] = path[i]!;
    const [xj, yj] = path[j]!;
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

export function Scatter({ map, names, choose }: {
  map: MapFacts;
  names: string[];
  choose: (numbers: number[]) => void;
}) {
  const [box, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const lasso = useRef<Point[]>([]);
  const [drawing, setDrawing] = useState(false);
  const theme = useTheme();
  const height = Math.min(560, Math.max(280, width * 0.7));
  const places = (): Point[] => {
    const [lowX, highX] = [Math.min(...map.x), Math.max(...map.x)];
    const [lowY, highY] = [Math.min(...map.y), Math.max(...map.y)];
    const pad = 14;
    return map.x.map((x, i) => [
      pad + ((x - lowX) / (highX - lowX || 1)) * (width - 2 * pad),
      height - pad - ((map.y[i]! - lowY) / (highY - lowY || 1)) * (height - 2 * pad),
    ]);
  };
  const draw = () => {
    const element = canvas.current;
    const pen = element?.getContext("2d");
    if (!element || !pen || !width) return;
    const scale = devicePixelRatio;
    element.width = width * scale;
    element.height = height * scale;
    pen.scale(scale, scale);
    pen.clearRect(0, 0, width, height);
    pen.globalAlpha = 0.75;
    places().forEach(([x, y], i) => {
      const group = Math.max(0, map.groups[i]!);
      pen.fillStyle = colour(map.groups[i]! < 0 ? "grey" : SERIES[group % SERIES.length]!);
      pen.beginPath();
      const shape = SHAPES[Math.floor(group / SERIES.length) % SHAPES.length];
      if (shape === "circle") pen.arc(x, y, 3.2, 0, 7);
      else if (shape === "square") pen.rect(x - 3, y - 3, 6, 6);
      else {
        pen.moveTo(x, y - 4);
        pen.lineTo(x + 4, y + 3);
        pen.lineTo(x - 4, y + 3);
      }
      pen.fill();
    });
    pen.globalAlpha = 1;
    if (lasso.current.length > 1) {
      pen.strokeStyle = colour("ink");
      pen.lineWidth = 2;
      pen.setLineDash([5, 4]);
      pen.beginPath();
      lasso.current.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.stroke();
    }
  };
  useEffect(draw, [width, height, map, theme]);
  const at = (event: PointerEvent): Point => {
    const place = canvas.current!.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top];
  };
  const end = () => {
    if (!drawing) return;
    setDrawing(false);
    const path = lasso.current;
    lasso.current = [];
    draw();
    if (path.length < 3) return;
    const found = places().flatMap((p, i) => (inside(path, p) && map.numbers[i]! >= 0 ? map.numbers[i]! : []));
    if (found.length) choose(found);
  };
  const used = [...new Set(map.groups)].filter((g) => g >= 0).sort((a, b) => a - b);
  return (
    <div ref={box} class="scatter">
      <canvas
        ref={canvas}
        style={{ width: `${width}px`, height: `${height}px` }}
        role="img"
        aria-label={`A map of ${map.x.length} images of ${used.length} classes`}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          lasso.current = [at(event)];
          setDrawing(true);
        }}
        onPointerMove={(event) => {
          if (!drawing) return;
          lasso.current.push(at(event));
          draw();
        }}
        onPointerUp={end}
        onPointerCancel={end}
      />
      <ul class="legend">
        {used.slice(0, 24).map((group) => (
          <li>
            <button
              class="quiet"
              title="Show the images of this class on the map"
              onClick={() => choose(map.numbers.filter((n, i) => n >= 0 && map.groups[i] === group))}
            >
              <span
                class={`dot ${SHAPES[Math.floor(group / SERIES.length) % SHAPES.length]}`}
                style={{ background: `var(--${SERIES[group % SERIES.length]})` }}
              />
              {names[group]}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
