// The decision map with the points on it; points can be painted.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Picture, Settings } from "./game";
import { Heat } from "./heat";
import { useWidth } from "./hooks";
import { useTheme } from "./theme";

const REACH = 6;

interface Props {
  picture: Picture;
  points: Picture["points"];
  settings: Settings;
  paint: (points: [number, number, number][]) => void;
}

export function Plane({ picture, points, settings, paint }: Props) {
  const [box, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [test, setTest] = useState(false);
  const [brush, setBrush] = useState(1);
  const theme = useTheme();
  const size = Math.min(width, 320);
  useEffect(() => {
    const element = canvas.current;
    const pen = element?.getContext("2d");
    if (!element || !pen || !size) return;
    const scale = devicePixelRatio;
    element.width = element.height = size * scale;
    pen.scale(scale, scale);
    pen.clearRect(0, 0, size, size);
    const dot = ([x, y, label]: number[], hollow: boolean) => {
      pen.beginPath();
      pen.arc(((x! + REACH) / (2 * REACH)) * size, ((REACH - y!) / (2 * REACH)) * size, 3.2, 0, 7);
      const height = points?.heights ? (label! + 1) / 2 : label!;
      pen.fillStyle = height > 0.5 ? "#0072b2" : "#d55e00";
      pen.strokeStyle = hollow ? "#000" : "#fff";
      pen.lineWidth = hollow ? 1.5 : 1;
      pen.fill();
      pen.stroke();
    };
    points?.train.forEach((point) => dot(point, false));
    if (test) points?.test.forEach((point) => dot(point, true));
  }, [points, size, test, theme]);
  const put = (event: MouseEvent) => {
    const place = canvas.current!.getBoundingClientRect();
    const x = ((event.clientX - place.left) / place.width) * 2 * REACH - REACH;
    const y = REACH - ((event.clientY - place.top) / place.height) * 2 * REACH;
    const known = settings.data === "painted" ? settings.points : [];
    paint([...known, [Number(x.toFixed(2)), Number(y.toFixed(2)), brush]]);
  };
  return (
    <div ref={box}>
      <div class="plane" style={{ width: `${size}px`, height: `${size}px` }}>
        <Heat bytes={picture.whole} side={picture.side} size={size} label="What the network answers everywhere in the plane" />
        <canvas ref={canvas} style={{ width: `${size}px`, height: `${size}px` }} onClick={put}
          role="img" aria-label={`${points?.train.length ?? 0} points to learn from`} />
      </div>
      <div class="row wrap">
        <label>
          <input type="checkbox" checked={test} onChange={() => setTest(!test)} /> show test points
        </label>
        <span class="switch" role="group" aria-label="Paint points of">
          <button aria-pressed={brush === 1} onClick={() => setBrush(1)}>
            paint blue
          </button>
          <button aria-pressed={brush === 0} onClick={() => setBrush(0)}>
            paint orange
          </button>
        </span>
        {settings.data === "painted" && (
          <button onClick={() => paint([])} disabled={!settings.points.length}>
            Clear points
          </button>
        )}
      </div>
    </div>
  );
}
